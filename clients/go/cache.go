// Package cache is a cache on Redis whose entries can never be filled with stale data. The protocol
// is specified in docs/read-side.md of invalidator; readers of other languages share the entries.
package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrNotFound: a loader returns it where there is no such row; it is remembered for NegativeTTL.
	ErrNotFound = errors.New("there is no such row")
	// ErrLoadsExhausted: Redis is unavailable, and enough loads run already.
	ErrLoadsExhausted = errors.New("too many loads run without caching")
	// ErrNeedsVersion: a plain set after a commit may be a stale fill.
	ErrNeedsVersion = errors.New("Set needs the row's version; else use Writing around the transaction, or Refresh")
)

const (
	record    = 6 // leases that a lease's record lives: a slow load may still be put
	firstPoll = 2 * time.Millisecond
	lastPoll  = 100 * time.Millisecond
	permit    = 100 * time.Millisecond
	mostExtra = 10_000
)

// Options of a cache; zero values are the defaults.
type Options struct {
	Prefix  string
	Kinds   map[string]Kind
	Timeout time.Duration // of a command; 1 s
	Loads   int           // that may run at once while Redis is unavailable; 64
	L1      *L1
	Stamp   string // the key of a tag's stamp, with {tag}
	Version string // the key of a version, with {name}
}

// Cache reads and writes entries on one Redis.
type Cache struct {
	options Options
	redis   *link
	permits chan struct{}
	skew    atomic.Int64 // ms that the clock of Redis is ahead

	mutex   sync.Mutex
	flights map[string]*flight  // by the lease's token
	extras  map[string][]string // by key: names that the entry's last load added
	Stats   Stats
}

// Stats counts since the cache was made.
type Stats struct{ Hits, Stale, Loads, Shared, Waits, Alone, Bypassed, Failed, Puts, Refused, L1 atomic.Int64 }

type flight struct {
	line    string
	done    chan struct{}
	outcome *outcome
}

type outcome struct {
	payload []byte // nil: there is none
	err     error
	shared  bool
}

// New returns a cache.
func New(redis Redis, options Options) *Cache {
	or(&options.Timeout, time.Second)
	or(&options.Loads, 64)
	or(&options.Stamp, "invalidator:stamp:{tag}")
	or(&options.Version, "cache:version:{name}")
	return &Cache{
		options: options, redis: &link{redis: redis, timeout: options.Timeout},
		permits: make(chan struct{}, options.Loads),
		flights: map[string]*flight{}, extras: map[string][]string{},
	}
}

// Entry names an entry and what it depends on.
type Entry struct {
	Key      string
	Tags     []string
	Versions []string
	Kind     string
}

// Value is what a loader returns where only the value knows more.
type Value[T any] struct {
	Value   T
	TTL     time.Duration
	Version int64 // of the row: an older one never replaces it
}

type names struct {
	key      string
	declared []string
}

func (c *Cache) names(entry Entry) (names, *Kind, error) {
	found := names{key: c.options.Prefix + entry.Key}
	if err := Check(found.key); err != nil {
		return found, nil, err
	}
	for _, tag := range entry.Tags {
		found.declared = append(found.declared, c.stampOf(tag))
	}
	for _, name := range entry.Versions {
		found.declared = append(found.declared, c.versionOf(name))
	}
	kind, known := c.options.Kinds[entry.Kind]
	if !known && entry.Kind != "" {
		return found, nil, fmt.Errorf("no kind is called %q", entry.Kind)
	}
	return found, kind.filled(), nil
}

func (c *Cache) stampOf(tag string) string { return strings.Replace(c.options.Stamp, "{tag}", tag, 1) }
func (c *Cache) versionOf(name string) string {
	return strings.Replace(c.options.Version, "{name}", name, 1)
}
func (c *Cache) isVersion(name string) bool {
	before, _, _ := strings.Cut(c.options.Version, "{")
	return strings.HasPrefix(name, before)
}
func (c *Cache) now() int64 { return time.Now().UnixMilli() + c.skew.Load() }

// Load is what a loader may say while it loads.
type Load struct {
	cache     *Cache
	kind      *Kind
	taken     map[string][]byte // nil: nothing is cached
	noted     []string
	cacheable bool
}

// Tag makes the entry depend on tags; call it before what depends on them is read.
func (l *Load) Tag(ctx context.Context, tags ...string) error {
	for _, tag := range tags {
		name := l.cache.stampOf(tag)
		if l.taken == nil {
			continue
		}
		if _, known := l.taken[name]; !known {
			taken, err := l.cache.take(ctx, []string{name}, l.kind)
			if errors.Is(err, ErrUnavailable) {
				l.cacheable = false
				continue
			} else if err != nil {
				return err
			}
			l.taken[name] = taken[0]
		}
		if !slices.Contains(l.noted, name) {
			l.noted = append(l.noted, name)
		}
	}
	return nil
}

// Loader loads a value. It returns ErrNotFound where there is none.
type Loader[T any] func(ctx context.Context, load *Load) (Value[T], error)

type raw struct {
	payload []byte
	ttl     time.Duration
	version int64
}

type rawLoader func(ctx context.Context, load *Load) (raw, error)

// Get returns an entry's value, from the cache or from its loader.
func Get[T any](ctx context.Context, c *Cache, entry Entry, loader Loader[T]) (T, error) {
	var value T
	found, kind, err := c.names(entry)
	if err != nil {
		return value, err
	}
	load := func(ctx context.Context, load *Load) (raw, error) {
		loaded, err := loader(ctx, load)
		if err != nil {
			return raw{}, err
		}
		payload, err := json.Marshal(loaded.Value)
		return raw{payload, loaded.TTL, loaded.Version}, err
	}
	fits := func(payload []byte) bool { var into T; return json.Unmarshal(payload, &into) == nil }
	ended := c.get(ctx, found, kind, load, fits)
	if ended.err != nil {
		return value, ended.err
	}
	return value, json.Unmarshal(ended.payload, &value)
}

// Refresh deletes an entry, and loads it anew.
func Refresh[T any](ctx context.Context, c *Cache, entry Entry, loader Loader[T]) (T, error) {
	if err := c.Invalidate(ctx, entry.Key); err != nil {
		var none T
		return none, err
	}
	return Get(ctx, c, entry, loader)
}

func (c *Cache) get(ctx context.Context, n names, kind *Kind, load rawLoader, fits func([]byte) bool) *outcome {
	l1 := c.options.L1
	if payload, kept := l1.get(n.key); kept {
		c.Stats.L1.Add(1)
		return outcomeOf(payload)
	}
	mark := l1.mark(n, kind)
	defer l1.unmark(mark)
	ended, err := c.read(ctx, n, kind, load, fits, mark)
	if errors.Is(err, ErrUnavailable) {
		c.Stats.Bypassed.Add(1)
		return c.alone(ctx, load)
	}
	if err != nil {
		return &outcome{err: err}
	}
	return ended
}

func (c *Cache) read(ctx context.Context, n names, kind *Kind, load rawLoader, fits func([]byte) bool, mark *mark) (*outcome, error) {
	giveUp, held := time.Now().Add(kind.Wait), false
	c.mutex.Lock()
	added := c.extras[n.key]
	c.mutex.Unlock()
	for {
		all := append(slices.Clone(n.declared), added...)
		entry, stamps, err := c.look(ctx, n.key, all)
		if err != nil {
			return nil, err
		}
		head := headOf(entry)
		if listed := listedIn(entry, head); head.isValue() && isOther(listed, n.declared, added) {
			added = slices.Clone(listed[len(n.declared):])
			c.learn(n.key, added)
			continue
		}
		line, complete := lineOf(all, stamps)
		what := judge(entry, head, line, complete, c.now(), kind)
		var kept *outcome
		if what != miss && head.isValue() {
			if kept = decoded(head, valueIn(entry, line), fits); kept == nil {
				what = miss
			}
		}
		if what == hit {
			c.Stats.Hits.Add(1)
			c.options.L1.fill(mark, all, valueIn(entry, line), head.state == 'N', time.Duration(head.freshUntil-c.now())*time.Millisecond)
			return kept, nil
		}
		if what == busy {
			ended, err := c.busy(ctx, n.key, head, line, complete, kept, giveUp, load)
			if err != nil || ended != nil {
				return c.bridged(ended, kept, kind), err
			}
			continue
		}
		if held && head != nil && what != early && what != stale && head.leaseUntil > c.now() {
			held = false
			if err := c.wait(ctx, n.key, head.lease, until(giveUp, head.leaseUntil-c.now())); err != nil {
				return nil, err
			}
			continue
		}
		token, mode := newToken(), "miss"
		if kept != nil {
			mode = "refresh"
		}
		reply, taken, err := c.lease(ctx, n.key, all, token, kind, head, mode)
		if err != nil {
			return nil, err
		}
		switch {
		case reply == granted:
			return c.bridged(c.lead(ctx, n, all, taken, token, kind, load, mark), kept, kind), nil
		case what == early || what == stale:
			c.Stats.Stale.Add(1)
			return kept, nil
		case reply == foreign || time.Now().After(giveUp):
			c.Stats.Alone.Add(1)
			return c.alone(ctx, load), nil
		}
		held = reply != changed
	}
}

// look reads the entry and its stamps, in any order.
func (c *Cache) look(ctx context.Context, key string, names []string) ([]byte, [][]byte, error) {
	found, err := each(append([]string{key}, names...), func(name string) ([]byte, error) { return c.redis.get(ctx, name) })
	if err != nil {
		return nil, nil, err
	}
	return found[0], found[1:], nil
}

// each asks for all at once, and returns the answers in order.
func each(names []string, ask func(string) ([]byte, error)) ([][]byte, error) {
	found, errs := make([][]byte, len(names)), make([]error, len(names))
	if len(names) == 1 {
		found[0], errs[0] = ask(names[0])
		return found, errs[0]
	}
	var all sync.WaitGroup
	for at, name := range names {
		all.Add(1)
		go func() {
			defer all.Done()
			found[at], errs[at] = ask(name)
		}()
	}
	all.Wait()
	return found, errors.Join(errs...)
}

// isOther returns whether an entry lists the declared names, and others than those that were read.
func isOther(listed, declared, added []string) bool {
	count := len(declared)
	return len(listed) >= count && slices.Equal(listed[:count], declared) && !slices.Equal(listed[count:], added)
}

func outcomeOf(payload []byte) *outcome {
	if string(payload) == missingRow {
		return &outcome{err: ErrNotFound}
	}
	return &outcome{payload: payload, shared: true}
}

// decoded returns the outcome of a value; nil where it cannot be decoded: it is a miss then.
func decoded(head *header, payload []byte, fits func([]byte) bool) *outcome {
	if head.state == 'N' {
		return outcomeOf(payload)
	}
	if head.codec != 'J' || head.packing != '-' || !fits(payload) {
		return nil
	}
	return outcomeOf(payload)
}

// bridged lets an old value stand in for a load that failed.
func (c *Cache) bridged(ended, kept *outcome, kind *Kind) *outcome {
	if ended == nil || ended.err == nil || errors.Is(ended.err, ErrNotFound) || kept == nil || kind.StaleIfError == 0 {
		return ended
	}
	c.Stats.Stale.Add(1)
	return kept
}

func (c *Cache) busy(ctx context.Context, key string, head *header, line string, complete bool, kept *outcome, giveUp time.Time, load rawLoader) (*outcome, error) {
	if tokens, _ := ctx.Value(loading{}).([]string); slices.Contains(tokens, head.lease) {
		return nil, fmt.Errorf("the loader of %s reads the entry that it loads", key)
	}
	if !time.Now().Before(giveUp) {
		if kept != nil {
			return kept, nil
		}
		c.Stats.Alone.Add(1)
		return c.alone(ctx, load), nil
	}
	c.mutex.Lock()
	flying := c.flights[head.lease]
	c.mutex.Unlock()
	if flying == nil || !complete || flying.line != line {
		c.Stats.Waits.Add(1)
		return nil, c.wait(ctx, key, head.lease, until(giveUp, head.leaseUntil-c.now()))
	}
	c.Stats.Shared.Add(1)
	select {
	case <-flying.done:
		if flying.outcome.shared {
			return flying.outcome, nil
		}
	case <-time.After(time.Until(giveUp)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return nil, nil
}

func until(giveUp time.Time, lease int64) time.Duration {
	return min(time.Until(giveUp), time.Duration(max(lease, 0)+1)*time.Millisecond)
}

func (c *Cache) wait(ctx context.Context, key, token string, within time.Duration) error {
	deadline := time.Now().Add(within)
	for pause := firstPoll; time.Now().Before(deadline); pause = min(pause*3/2, lastPoll) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		reply, err := c.redis.do(ctx, key, "GETRANGE", key, 30, 45)
		if err != nil || string(bytesOf(reply)) != token {
			return err
		}
	}
	return nil
}

func (c *Cache) alone(ctx context.Context, load rawLoader) *outcome {
	select {
	case c.permits <- struct{}{}:
	case <-time.After(permit):
		return &outcome{err: ErrLoadsExhausted}
	}
	defer func() { <-c.permits }()
	loaded, err := load(ctx, &Load{cache: c})
	return &outcome{payload: loaded.payload, err: err}
}

func (c *Cache) learn(key string, added []string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.extras, key)
	if len(added) == 0 {
		return
	}
	if len(c.extras) >= mostExtra {
		clear(c.extras)
	}
	c.extras[key] = added
}

// --- loading --------------------------------------------------------------------------------

type loading struct{} // the tokens of the loads that a context is a part of

// lease asks for the lease, and takes every stamp and version, before anything is loaded.
func (c *Cache) lease(ctx context.Context, key string, stamps []string, token string, kind *Kind, head *header, mode string) (int64, map[string][]byte, error) {
	length := leaseMs(kind, head)
	asked := time.Now().UnixMilli()
	reply, err := c.redis.script(ctx, lease, key, token, length, record*length, head.valueID(), mode)
	if err != nil {
		return 0, nil, err
	}
	said := reply.([]any)
	c.skew.Store(said[1].(int64) - (asked+time.Now().UnixMilli())/2)
	found, err := c.take(ctx, stamps, kind)
	taken := map[string][]byte{}
	for at, name := range stamps {
		if err == nil {
			taken[name] = found[at]
		}
	}
	return said[0].(int64), taken, err
}

func (c *Cache) take(ctx context.Context, names []string, kind *Kind) ([][]byte, error) {
	return each(names, func(name string) ([]byte, error) {
		if c.isVersion(name) {
			reply, err := c.redis.script(ctx, version, name)
			return bytesOf(reply), err
		}
		reply, err := c.redis.script(ctx, stamp, name, newToken(), kind.stampMs())
		return bytesOf(reply), err
	})
}

// lead loads in a flight that others of this process may join; whoever gives up does not end it.
func (c *Cache) lead(ctx context.Context, n names, all []string, taken map[string][]byte, token string, kind *Kind, load rawLoader, mark *mark) *outcome {
	line, _ := lineOf(all, stampsOf(all, taken))
	flying := &flight{line: line, done: make(chan struct{})}
	c.mutex.Lock()
	c.flights[token] = flying
	c.mutex.Unlock()
	within, _ := ctx.Value(loading{}).([]string)
	inner := context.WithValue(context.WithoutCancel(ctx), loading{}, append(slices.Clone(within), token))
	go func() {
		flying.outcome = c.fill(inner, n, taken, token, kind, load, mark)
		c.mutex.Lock()
		delete(c.flights, token)
		c.mutex.Unlock()
		close(flying.done)
	}()
	select {
	case <-flying.done:
		return flying.outcome
	case <-ctx.Done():
		return &outcome{err: ctx.Err()}
	}
}

func stampsOf(names []string, taken map[string][]byte) [][]byte {
	found := make([][]byte, len(names))
	for at, name := range names {
		found[at] = taken[name]
	}
	return found
}

func (c *Cache) fill(ctx context.Context, n names, taken map[string][]byte, token string, kind *Kind, load rawLoader, mark *mark) (ended *outcome) {
	c.Stats.Loads.Add(1)
	said := &Load{cache: c, kind: kind, taken: taken, cacheable: true}
	began := time.Now()
	defer func() {
		if panicked := recover(); panicked != nil {
			c.release(ctx, n.key, token, kind.Cooldown)
			ended = &outcome{err: fmt.Errorf("the loader of %s panicked: %v", n.key, panicked), shared: true}
		}
	}()
	loaded, err := load(ctx, said)
	absent := errors.Is(err, ErrNotFound)
	if err != nil && !absent {
		c.Stats.Failed.Add(1)
		c.release(ctx, n.key, token, kind.Cooldown)
		return &outcome{err: err, shared: true}
	}
	ended = &outcome{payload: loaded.payload, shared: len(said.noted) == 0}
	if absent {
		ended.err, loaded.payload = ErrNotFound, []byte(missingRow)
	}
	if !said.cacheable {
		c.release(ctx, n.key, token, 0)
		return ended
	}
	added := slices.DeleteFunc(slices.Clone(said.noted), func(name string) bool { return slices.Contains(n.declared, name) })
	c.learn(n.key, added)
	all := append(slices.Clone(n.declared), added...)
	line, _ := lineOf(all, stampsOf(all, taken))
	entry, ttl, fresh := c.framed(loaded, token, line, kind, time.Since(began))
	if ttl <= 0 || len(entry) > kind.MaxBytes {
		c.release(ctx, n.key, token, 0)
		return ended
	}
	reply, err := c.redis.script(ctx, put, n.key, token, entry, ms(ttl))
	if err == nil && reply.(int64) == 1 {
		c.Stats.Puts.Add(1)
		c.options.L1.fill(mark, all, loaded.payload, isNone(loaded.payload), fresh)
	} else if err == nil {
		c.Stats.Refused.Add(1)
	}
	return ended
}

func isNone(payload []byte) bool { return string(payload) == "null" || string(payload) == missingRow }

func (c *Cache) framed(loaded raw, token, line string, kind *Kind, took time.Duration) ([]byte, time.Duration, time.Duration) {
	absent := isNone(loaded.payload)
	fresh := kind.NegativeTTL
	ttl := fresh
	if !absent {
		or(&loaded.ttl, kind.TTL)
		fresh = time.Duration(float64(loaded.ttl) * (1 - kind.Jitter*rand.Float64()))
		ttl = fresh + kind.kept()
	}
	made := Frame{
		Payload: loaded.payload, Codec: "J-", Token: token, Line: line, Schema: kind.schema(),
		FreshUntil: c.now() + ms(fresh), Row: loaded.version, Took: ms(took), Absent: absent,
	}
	return made.Encoded(), ttl, fresh
}

func (c *Cache) release(ctx context.Context, key, token string, pause time.Duration) {
	_, _ = c.redis.script(ctx, release, key, token, ms(pause)) // else the lease runs out
}

// --- invalidating ---------------------------------------------------------------------------

// Invalidate deletes entries. With an error, they may still be there.
func (c *Cache) Invalidate(ctx context.Context, keys ...string) error {
	full := make([]string, len(keys))
	for at, key := range keys {
		full[at] = c.options.Prefix + key
	}
	return c.drop(ctx, "keys", full)
}

// InvalidateTags invalidates every entry that carries one of these tags.
func (c *Cache) InvalidateTags(ctx context.Context, tags ...string) error {
	stamps := make([]string, len(tags))
	for at, tag := range tags {
		stamps[at] = c.stampOf(tag)
	}
	return c.drop(ctx, "tags", stamps)
}

func (c *Cache) drop(ctx context.Context, kind string, names []string) error {
	c.options.L1.forget(kind, names)
	defer c.options.L1.forget(kind, names)
	_, err := each(names, func(name string) ([]byte, error) { _, err := c.redis.do(ctx, name, "UNLINK", name); return nil, err })
	return err
}

// Bump raises versions, which invalidates every entry that depends on one of them.
func (c *Cache) Bump(ctx context.Context, versions ...string) error {
	names := make([]string, len(versions))
	for at, name := range versions {
		names[at] = c.versionOf(name)
	}
	c.options.L1.forget("versions", names)
	defer c.options.L1.forget("versions", names)
	_, err := each(names, func(name string) ([]byte, error) { _, err := c.redis.script(ctx, bump, name); return nil, err })
	return err
}

// Expire ends values' freshness: they stay for those who may serve stale values.
func (c *Cache) Expire(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		full := c.options.Prefix + key
		if _, err := c.redis.script(ctx, expire, full); err != nil {
			return err
		}
		c.options.L1.forget("keys", []string{full})
	}
	return nil
}

// --- writing through ------------------------------------------------------------------------

// Writing runs a transaction around an entry's row. What it returns is filled afterwards, or dropped
// if anybody interfered; with an error the entry is dropped.
func Writing[T any](ctx context.Context, c *Cache, entry Entry, transaction func(ctx context.Context) (Value[T], error)) (T, error) {
	var none T
	n, kind, err := c.names(entry)
	if err != nil {
		return none, err
	}
	token := writerToken()
	_, taken, err := c.lease(ctx, n.key, n.declared, token, kind, nil, "write")
	leased := err == nil
	if err != nil && !errors.Is(err, ErrUnavailable) {
		return none, err
	}
	after := context.WithoutCancel(ctx) // whatever happens, the entry is filled or dropped
	value, err := transaction(ctx)
	if err != nil {
		_ = c.drop(after, "keys", []string{n.key}) // whether it was committed is unknown
		return none, err
	}
	payload, err := json.Marshal(value.Value)
	c.mutex.Lock()
	tagged := len(c.extras[n.key]) > 0
	c.mutex.Unlock()
	if err != nil || !leased || tagged {
		return value.Value, errors.Join(err, c.drop(after, "keys", []string{n.key}))
	}
	line, _ := lineOf(n.declared, stampsOf(n.declared, taken))
	made, ttl, _ := c.framed(raw{payload, value.TTL, value.Version}, token, line, kind, 0)
	words := []any{token, made, ms(ttl)}
	for _, name := range n.declared {
		words = append(words, quoted(name)+`,"`)
	}
	defer c.options.L1.forget("keys", []string{n.key})
	if len(made) > kind.MaxBytes {
		return value.Value, c.drop(after, "keys", []string{n.key})
	}
	_, err = c.redis.script(after, finish, n.key, words...)
	return value.Value, err
}

// Set replaces an older value that is cached, by the row's version; else it drops what is there.
func Set[T any](ctx context.Context, c *Cache, entry Entry, value T, version int64) (bool, error) {
	n, kind, err := c.names(entry)
	if err != nil {
		return false, err
	}
	if version <= 0 {
		return false, ErrNeedsVersion
	}
	payload, err := json.Marshal(value)
	if err != nil {
		return false, err
	}
	made, ttl, _ := c.framed(raw{payload, 0, version}, newToken(), "", kind, 0)
	defer c.options.L1.forget("keys", []string{n.key})
	reply, err := c.redis.script(ctx, replace, n.key, fmt.Sprintf("%016d", version), made, ms(ttl))
	return err == nil && reply.(int64) == 1, err
}
