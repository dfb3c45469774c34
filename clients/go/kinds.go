package cache

import (
	"fmt"
	"time"
)

// Kind says how long entries of one kind live. Zero values are those of Default.
type Kind struct {
	TTL          time.Duration // for which a value is fresh
	Jitter       float64       // the share of TTL that is taken away at random
	SWR          time.Duration // served stale while one process refreshes it
	StaleIfError time.Duration // served stale when the load fails
	NegativeTTL  time.Duration // for which "there is none" is remembered
	Lease        time.Duration // then another process may load
	Wait         time.Duration // then a reader loads for itself
	Cooldown     time.Duration // without another attempt after a failed load
	L1TTL        time.Duration // for which this process keeps a copy; 0: none
	MaxBytes     int           // larger entries are not cached
	Schema       int           // an entry of another schema is a miss
}

// Default is what kinds are built on.
var Default = Kind{
	TTL: 5 * time.Minute, Jitter: 0.1, NegativeTTL: 30 * time.Second, Lease: 10 * time.Second,
	Wait: 15 * time.Second, Cooldown: time.Second, MaxBytes: 1 << 20,
}

func (k Kind) filled() *Kind {
	or(&k.TTL, Default.TTL)
	or(&k.Jitter, Default.Jitter)
	or(&k.NegativeTTL, Default.NegativeTTL)
	or(&k.Lease, Default.Lease)
	or(&k.Wait, Default.Wait)
	or(&k.Cooldown, Default.Cooldown)
	or(&k.MaxBytes, Default.MaxBytes)
	return &k
}

func or[T comparable](value *T, other T) {
	var zero T
	if *value == zero {
		*value = other
	}
}

func (k *Kind) schema() string { return fmt.Sprintf("%04d", k.Schema) }

func (k *Kind) kept() time.Duration { return max(k.SWR, k.StaleIfError) }

func (k *Kind) stampMs() int64 { return 2 * ms(k.TTL+k.kept()) }

func ms(d time.Duration) int64 { return d.Milliseconds() }
