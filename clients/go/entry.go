package cache

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	mrand "math/rand/v2"
	"strconv"
	"strings"
)

// An entry is one Redis string: a header of 99 bytes, a line of stamps, and the value.
const (
	headLength = 99
	noToken    = "----------------"
	missingRow = "missing"
)

type verdict int

// What a reader does with what it found.
const (
	hit     verdict = iota // serve it
	early                  // serve it, and refresh it before it expires
	stale                  // serve it, and refresh it
	expired                // load; the value may be served if that fails
	busy                   // somebody loads: wait
	miss                   // load
)

type header struct {
	state, codec, packing  byte
	schema, id, lease      string
	leaseUntil, freshUntil int64
	loadTime               int64
}

func newToken() string {
	raw := make([]byte, 12)
	rand.Read(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// A writer's token begins with ~: readers need not wait for it.
func writerToken() string { return "~" + newToken()[1:] }

// headOf returns the header's fields; nil where this is no entry of ours.
func headOf(entry []byte) *header {
	if len(entry) < headLength || string(entry[:4]) != "!i1 " {
		return nil
	}
	text := string(entry[:headLength])
	return &header{
		state: text[4], codec: text[5], packing: text[6], schema: text[8:12], id: text[13:29],
		lease: text[30:46], leaseUntil: number(text[47:60]), freshUntil: number(text[61:74]),
		loadTime: number(text[92:98]),
	}
}

func number(text string) int64 {
	found, _ := strconv.ParseInt(text, 10, 64)
	return found
}

// isValue returns whether there is a value, or the knowledge that there is none.
func (h *header) isValue() bool { return h != nil && h.state != 'L' }

func (h *header) valueID() string {
	if !h.isValue() {
		return ""
	}
	return h.id
}

// lineOf returns the line of stamps as it must be now; false where one of them is missing.
func lineOf(names []string, stamps [][]byte) (string, bool) {
	if len(names) == 0 {
		return "", true
	}
	pairs := make([]string, 0, len(names))
	for at, name := range names {
		if stamps[at] == nil {
			return "", false
		}
		pairs = append(pairs, quoted(name)+","+quoted(string(stamps[at])))
	}
	return "[" + strings.Join(pairs, ",") + "]", true
}

func quoted(text string) string {
	var made bytes.Buffer
	encoder := json.NewEncoder(&made)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text)
	// Other readers leave these two as they are.
	return strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(strings.TrimSuffix(made.String(), "\n"))
}

// listedIn returns the names that an entry's line lists.
func listedIn(entry []byte, head *header) []string {
	if !head.isValue() {
		return nil
	}
	end := bytes.IndexByte(entry[headLength:], '\n')
	var pairs []string
	if end <= 0 || json.Unmarshal(entry[headLength:headLength+end], &pairs) != nil {
		return nil
	}
	names := make([]string, 0, len(pairs)/2)
	for at := 0; at < len(pairs); at += 2 {
		names = append(names, pairs[at])
	}
	return names
}

// judge says what a reader does with what it found; now is in ms of Redis's clock.
func judge(entry []byte, head *header, line string, complete bool, now int64, kind *Kind) verdict {
	if head == nil {
		return miss
	}
	held, writes := head.leaseUntil > now, strings.HasPrefix(head.lease, "~")
	if head.state == 'L' {
		if held && !writes {
			return busy
		}
		return miss
	}
	if !complete || head.schema != kind.schema() || !bytes.HasPrefix(entry[headLength:], []byte(line+"\n")) {
		return miss
	}
	left := head.freshUntil - now
	switch {
	case left > 0:
		if !held && float64(left) < mrand.ExpFloat64()*float64(head.loadTime) {
			return early
		}
		return hit
	case left > -ms(kind.SWR):
		if held {
			return hit
		}
		return stale
	case left > -ms(kind.StaleIfError):
		if !held || writes {
			return expired
		}
		if head.lease == noToken {
			return hit // the last load has just failed
		}
		return busy
	}
	return miss
}

func valueIn(entry []byte, line string) []byte { return entry[headLength+len(line)+1:] }

// Frame is what goes into an entry.
type Frame struct {
	Payload    []byte
	Codec      string // two letters: the codec and the packing
	Token      string
	Line       string // of stamps
	Schema     string
	FreshUntil int64 // ms of Redis's clock
	Row        int64 // its version
	Took       int64 // ms
	Absent     bool
}

// Encoded returns the entry's bytes.
func (f Frame) Encoded() []byte {
	state := "V"
	if f.Absent {
		state = "N"
	}
	head := fmt.Sprintf("!i1 %s%s %s %s %s 0000000000000 %013d %016d %06d\n%s\n", state, f.Codec, f.Schema,
		f.Token, noToken, f.FreshUntil, f.Row, min(f.Took, 999_999), f.Line)
	return append([]byte(head), f.Payload...)
}

// Line returns the line of stamps: names and stamps in turns.
func Line(pairs []string) string {
	var names []string
	var stamps [][]byte
	for at := 0; at+1 < len(pairs); at += 2 {
		names, stamps = append(names, pairs[at]), append(stamps, []byte(pairs[at+1]))
	}
	line, _ := lineOf(names, stamps)
	return line
}

// Head returns the id of an entry's value, and a reader's lease beside it; empty where there is none.
func Head(entry []byte) (id, lease string, until int64) {
	head := headOf(entry)
	if head == nil || strings.HasPrefix(head.lease, "~") {
		return head.valueID(), "", 0
	}
	return head.valueID(), head.lease, head.leaseUntil
}

// leaseMs is what the last load took, with room, where that is known.
func leaseMs(kind *Kind, head *header) int64 {
	most := ms(kind.Lease)
	if head.valueID() == "" {
		return most
	}
	return int64(math.Min(math.Max(float64(4*head.loadTime), math.Min(1000, float64(most))), float64(most)))
}
