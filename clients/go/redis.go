package cache

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Redis is a client of Redis: package goredis and package rueidis have one each. Do runs a command
// and returns nil, int64, []byte or []any; Key is for clusters. A reply that is an error is an Error.
type Redis interface {
	Do(ctx context.Context, key string, words ...any) (any, error)
}

// Error is an error that Redis itself replied.
type Error string

func (e Error) Error() string { return string(e) }

// ErrUnavailable: Redis did not do what was asked; an entry may still be there.
var ErrUnavailable = errors.New("the cache's Redis is unavailable")

//go:embed scripts/*.lua
var files embed.FS

type script struct{ source, sha string }

func scriptOf(name string) script {
	source, err := files.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	sum := sha1.Sum(source)
	return script{string(source), hex.EncodeToString(sum[:])}
}

var (
	lease, put, finish, replace = scriptOf("lease"), scriptOf("put"), scriptOf("finish"), scriptOf("replace")
	release, expire, stamp      = scriptOf("release"), scriptOf("expire"), scriptOf("stamp")
	version, bump               = scriptOf("version"), scriptOf("bump")
)

// What LEASE replies first.
const (
	granted = 1
	changed = 2
	foreign = 3
)

const failures = 5 // in a row; then Redis is left alone for a moment

// link asks Redis, and leaves it alone while it does not answer.
type link struct {
	redis   Redis
	timeout time.Duration

	mutex     sync.Mutex
	failed    int
	openUntil time.Time
}

func (l *link) do(ctx context.Context, key string, words ...any) (any, error) {
	if err := l.admit(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	reply, err := l.redis.Do(ctx, key, words...)
	var said Error
	if err == nil || errors.As(err, &said) {
		l.worked()
		return reply, err
	}
	if errors.Is(err, context.Canceled) {
		return nil, err
	}
	l.note()
	return nil, fmt.Errorf("%w: %v", ErrUnavailable, err)
}

func (l *link) script(ctx context.Context, s script, key string, words ...any) (any, error) {
	all := append([]any{"EVALSHA", s.sha, 1, key}, words...)
	reply, err := l.do(ctx, key, all...)
	var said Error
	if errors.As(err, &said) && strings.HasPrefix(string(said), "NOSCRIPT") {
		all[0], all[1] = "EVAL", s.source
		reply, err = l.do(ctx, key, all...)
	}
	if errors.As(err, &said) {
		err = fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	return reply, err
}

// get returns the bytes of a string; nil for none, or for a key of another type.
func (l *link) get(ctx context.Context, key string) ([]byte, error) {
	reply, err := l.do(ctx, key, "GET", key)
	var said Error
	if errors.As(err, &said) && strings.HasPrefix(string(said), "WRONGTYPE") {
		return nil, nil
	}
	if errors.As(err, &said) {
		return nil, fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	return bytesOf(reply), err
}

func (l *link) admit() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.openUntil.IsZero() {
		return nil
	}
	if time.Now().Before(l.openUntil) {
		return fmt.Errorf("%w: it has not answered, and is not asked for a moment", ErrUnavailable)
	}
	l.openUntil = time.Now().Add(time.Second) // this caller looks alone
	return nil
}

func (l *link) worked() {
	l.mutex.Lock()
	l.failed, l.openUntil = 0, time.Time{}
	l.mutex.Unlock()
}

func (l *link) note() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.failed++; l.failed >= failures || !l.openUntil.IsZero() {
		l.openUntil = time.Now().Add(time.Second + time.Duration(rand.Int64N(int64(4*time.Second))))
	}
}

func bytesOf(reply any) []byte {
	switch found := reply.(type) {
	case []byte:
		return found
	case string:
		return []byte(found)
	}
	return nil
}
