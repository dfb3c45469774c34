package cache

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// quiet is how long it takes until every daemon has been heard.
const quiet = 3 * time.Second

// Channel is where daemons announce what they applied.
const Channel = "invalidator:applied"

// L1 keeps entries in this process's memory, honest by what the daemons announce. Feed it what comes
// on Channel: Subscribed once it is subscribed (again), Hear for each message, Lost when the link breaks.
type L1 struct {
	most    int
	options *Options

	mutex   sync.Mutex
	kept    map[string]kept
	marks   map[*mark]struct{}
	senders map[string]int64
	on      bool // whether anything may be kept
	period  int  // a read of another period fills nothing
	timer   *time.Timer
}

type kept struct {
	payload []byte
	names   []string
	until   time.Time
}

// mark registers a read before its command is sent; only a live one may fill.
type mark struct {
	key    string
	names  []string
	ttl    time.Duration
	period int
	alive  bool
}

// NewL1 returns one for at most so many entries.
func NewL1(entries int) *L1 {
	return &L1{most: entries, options: &Options{Stamp: "invalidator:stamp:{tag}", Version: "cache:version:{name}"},
		kept: map[string]kept{}, marks: map[*mark]struct{}{}, senders: map[string]int64{}}
}

func (l *L1) mark(n names, kind *Kind) *mark {
	if l == nil || kind.L1TTL == 0 {
		return nil
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if !l.on {
		return nil
	}
	made := &mark{n.key, n.declared, kind.L1TTL, l.period, true}
	l.marks[made] = struct{}{}
	return made
}

func (l *L1) unmark(m *mark) {
	if m != nil {
		l.mutex.Lock()
		delete(l.marks, m)
		l.mutex.Unlock()
	}
}

func (l *L1) get(key string) ([]byte, bool) {
	if l == nil {
		return nil, false
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	found, known := l.kept[key]
	if known && time.Now().Before(found.until) {
		return found.payload, true
	}
	delete(l.kept, key)
	return nil, false
}

func (l *L1) fill(m *mark, all []string, payload []byte, _ bool, left time.Duration) {
	if m == nil || len(all) != len(m.names) { // no mark was there for names that the load added
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if !m.alive || !l.on || m.period != l.period {
		return
	}
	if len(l.kept) >= l.most {
		for key := range l.kept { // any of them: Go's maps are in random order
			delete(l.kept, key)
			break
		}
	}
	l.kept[m.key] = kept{payload, all, time.Now().Add(min(m.ttl, left))}
}

func (l *L1) forget(kind string, names []string) {
	if l == nil {
		return
	}
	gone := func(key string, of []string) bool { return slices.Contains(names, key) }
	switch kind {
	case "tags", "versions":
		gone = func(_ string, of []string) bool {
			return slices.ContainsFunc(of, func(name string) bool { return slices.Contains(names, name) })
		}
	case "patterns":
		globs := make([]*regexp.Regexp, len(names))
		for at, name := range names {
			globs[at] = globOf(name)
		}
		gone = func(key string, _ []string) bool {
			return slices.ContainsFunc(globs, func(glob *regexp.Regexp) bool { return glob.MatchString(key) })
		}
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for m := range l.marks {
		m.alive = m.alive && !gone(m.key, m.names)
	}
	for key, each := range l.kept {
		if gone(key, each.names) {
			delete(l.kept, key)
		}
	}
}

// Subscribed: from now on messages come. Nothing is kept until every daemon has been heard.
func (l *L1) Subscribed() {
	l.Lost()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	period := l.period
	l.timer = time.AfterFunc(quiet, func() {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		if l.period == period {
			l.period, l.on = l.period+1, true
		}
	})
}

// Lost: messages may be missed. Everything is forgotten, and nothing is kept until Subscribed.
func (l *L1) Lost() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.on = false
	clear(l.senders)
	if l.timer != nil {
		l.timer.Stop()
	}
	l.gap()
}

func (l *L1) gap() {
	clear(l.kept)
	for m := range l.marks {
		m.alive = false
	}
	if l.on {
		l.period++
	}
}

type message struct {
	V        int      `json:"v"`
	Type     string   `json:"type"`
	Instance string   `json:"instance"`
	Epoch    int64    `json:"epoch"`
	Seq      int64    `json:"seq"`
	Kind     string   `json:"kind"`
	Names    []string `json:"names"`
}

// Hear takes a message of the channel.
func (l *L1) Hear(text []byte) {
	var said message
	if json.Unmarshal(text, &said) != nil || said.V != 1 {
		return
	}
	l.count(&said)
	if said.Type != "applied" {
		return
	}
	slot, template := "{tag}", l.options.Stamp
	if said.Kind == "versions" {
		slot, template = "{name}", l.options.Version
	}
	if said.Kind == "tags" || said.Kind == "versions" {
		for at, name := range said.Names {
			said.Names[at] = strings.Replace(template, slot, name, 1)
		}
	}
	l.forget(said.Kind, said.Names)
}

func (l *L1) count(said *message) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	sender := said.Instance + " " + time.UnixMilli(said.Epoch).String()
	expected := l.senders[sender]
	if said.Type == "applied" {
		expected++
	}
	if said.Seq > expected {
		l.gap()
	}
	l.senders[sender] = max(l.senders[sender], said.Seq)
	if said.Type == "bye" {
		delete(l.senders, sender)
	}
}

var sign = regexp.MustCompile(`\\.|\*+|\?|\[(?:\\.|[^\]])*\]|.`)

// globOf returns a glob of Redis as a regular expression.
func globOf(glob string) *regexp.Regexp {
	made := sign.ReplaceAllStringFunc(glob, func(found string) string {
		switch {
		case found[0] == '*':
			return ".*"
		case found == "?":
			return "."
		case found[0] == '[' && len(found) > 1:
			return found
		case found[0] == '\\' && len(found) > 1:
			return regexp.QuoteMeta(found[1:])
		}
		return regexp.QuoteMeta(found)
	})
	compiled, err := regexp.Compile("(?s)^" + made + "$")
	if err != nil {
		return regexp.MustCompile("") // when in doubt, everything is forgotten
	}
	return compiled
}
