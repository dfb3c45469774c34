// Package rueidis lets the cache use a client of rueidis, standalone or cluster.
package rueidis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"invalidator/cache"
)

// New returns the cache's view of a client.
func New(client rueidis.Client) cache.Redis { return adapter{client} }

type adapter struct{ client rueidis.Client }

func (a adapter) Do(ctx context.Context, key string, words ...any) (any, error) {
	command := a.client.B().Arbitrary(text(words[0]))
	for _, word := range words[1:] {
		if name, is := word.(string); is && name == key {
			command = command.Keys(name) // for the cluster's slot
		} else {
			command = command.Args(text(word))
		}
	}
	reply, err := a.client.Do(ctx, command.Build()).ToAny()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	if said, is := rueidis.IsRedisErr(err); is {
		return nil, cache.Error(said.Error())
	}
	return reply, err
}

func text(word any) string {
	if raw, is := word.([]byte); is {
		return string(raw)
	}
	return fmt.Sprint(word)
}

// Listen tells an L1 what daemons announce, until the context ends. It keeps a connection of its own.
func Listen(ctx context.Context, client rueidis.Client, l1 *cache.L1) {
	for ctx.Err() == nil {
		hear(ctx, client, l1)
		l1.Lost()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func hear(ctx context.Context, client rueidis.Client, l1 *cache.L1) {
	dedicated, release := client.Dedicate()
	defer release()
	broken := dedicated.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage:      func(said rueidis.PubSubMessage) { l1.Hear([]byte(said.Message)) },
		OnSubscription: func(rueidis.PubSubSubscription) { l1.Subscribed() },
	})
	if dedicated.Do(ctx, dedicated.B().Subscribe().Channel(cache.Channel).Build()).Error() != nil {
		return
	}
	select {
	case <-broken:
	case <-ctx.Done():
	}
}
