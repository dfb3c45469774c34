// The driver of Go's client: reads requests from stdin, and answers on stdout.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"invalidator/cache"
	"invalidator/cache/goredis"
	ours "invalidator/cache/rueidis"
)

type request struct {
	ID       int64           `json:"id"`
	Do       string          `json:"do"`
	Give     json.RawMessage `json:"give"`
	Key      string          `json:"key"`
	Tags     []string        `json:"tags"`
	Versions []string        `json:"versions"`
	Names    []string        `json:"names"`
	Template string          `json:"template"`
	Values   map[string]any  `json:"values"`
	frame
}

// frame is what a vector says of an entry.
type frame struct {
	Payload    string   `json:"payload"` // base64, as Entry is
	Entry      string   `json:"entry"`
	Codec      string   `json:"codec"`
	Token      string   `json:"token"`
	Line       []string `json:"line"`
	Schema     string   `json:"schema"`
	FreshUntil int64    `json:"fresh_until"`
	Row        int64    `json:"row"`
	Took       int64    `json:"took"`
	Absent     bool     `json:"absent"`
}

var (
	output sync.Mutex
	given  sync.Map // by id: a channel of what the suite gives a loader
)

func say(message map[string]any) {
	output.Lock()
	defer output.Unlock()
	line, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", line)
}

func call(id int64) json.RawMessage {
	answer := make(chan json.RawMessage)
	given.Store(id, answer)
	say(map[string]any{"id": id, "call": true})
	return <-answer
}

func main() {
	library, address := "goredis", os.Args[len(os.Args)-1]
	if len(os.Args) > 2 {
		library = os.Args[1]
	}
	kind := cache.Kind{Lease: 2 * time.Second, Wait: 20 * time.Second}
	redis, listen := connect(library, address)
	options := cache.Options{Timeout: 10 * time.Second, Kinds: map[string]cache.Kind{"": kind}}
	c := cache.New(redis, options)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var asked request
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.UseNumber() // integers of 64 bits
		if err := decoder.Decode(&asked); err != nil {
			panic(err)
		}
		if asked.Do == "" {
			waiting, _ := given.LoadAndDelete(asked.ID)
			waiting.(chan json.RawMessage) <- asked.Give
			continue
		}
		if asked.Do == "keep" {
			kind.L1TTL, options.L1 = time.Minute, cache.NewL1(100)
			options.Kinds[""] = kind
			c = cache.New(redis, options)
			go listen(options.L1)
			say(map[string]any{"id": asked.ID, "done": nil})
			continue
		}
		go func() {
			done, err := answer(c, asked)
			if err != nil {
				say(map[string]any{"id": asked.ID, "error": err.Error()})
				return
			}
			say(map[string]any{"id": asked.ID, "done": done})
		}()
	}
}

func answer(c *cache.Cache, asked request) (any, error) {
	ctx := context.Background()
	entry := cache.Entry{Key: asked.Key, Tags: asked.Tags, Versions: asked.Versions}
	switch asked.Do {
	case "hello":
		return "go", nil
	case "hits":
		return c.Stats.Hits.Load(), nil
	case "kept":
		return c.Stats.L1.Load(), nil
	case "read":
		return cache.Get(ctx, c, entry, func(context.Context, *cache.Load) (cache.Value[json.RawMessage], error) {
			return cache.Value[json.RawMessage]{Value: call(asked.ID)}, nil
		})
	case "write":
		return cache.Writing(ctx, c, entry, func(context.Context) (cache.Value[json.RawMessage], error) {
			return cache.Value[json.RawMessage]{Value: call(asked.ID)}, nil
		})
	case "invalidate":
		return nil, c.Invalidate(ctx, asked.Names...)
	case "invalidate_tags":
		return nil, c.InvalidateTags(ctx, asked.Names...)
	case "bump":
		return nil, c.Bump(ctx, asked.Names...)
	case "render":
		return cache.Render(asked.Template, asked.Values)
	case "frame":
		return framed(asked.frame)
	case "head":
		return head(asked.Entry)
	}
	return nil, fmt.Errorf("no request is called %q", asked.Do)
}

func framed(f frame) (any, error) {
	payload, err := base64.StdEncoding.DecodeString(f.Payload)
	made := cache.Frame{
		Payload: payload, Codec: f.Codec, Token: f.Token, Line: cache.Line(f.Line), Schema: f.Schema,
		FreshUntil: f.FreshUntil, Row: f.Row, Took: f.Took, Absent: f.Absent,
	}
	return base64.StdEncoding.EncodeToString(made.Encoded()), err
}

func head(entry string) (any, error) {
	raw, err := base64.StdEncoding.DecodeString(entry)
	id, lease, until := cache.Head(raw)
	if lease == "" {
		return map[string]any{"id": id, "lease": nil, "lease_until": nil}, err
	}
	return map[string]any{"id": id, "lease": lease, "lease_until": until}, err
}

// connect returns a client, and what tells an L1 of announcements.
func connect(library, address string) (cache.Redis, func(*cache.L1)) {
	parsed, err := url.Parse(strings.Replace(address, "redis+cluster:", "redis:", 1))
	if err != nil {
		panic(err)
	}
	ctx, hosts := context.Background(), []string{parsed.Host}
	if library == "rueidis" {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: hosts, DisableCache: true})
		if err != nil {
			panic(err)
		}
		return ours.New(client), func(l1 *cache.L1) { ours.Listen(ctx, client, l1) }
	}
	var client redis.UniversalClient = redis.NewClient(&redis.Options{Addr: parsed.Host})
	if strings.HasPrefix(address, "redis+cluster:") {
		client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: hosts})
	}
	return goredis.New(client), func(l1 *cache.L1) { goredis.Listen(ctx, client, l1) }
}
