// Package goredis lets the cache use a client of go-redis: Client, ClusterClient or Ring.
package goredis

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"invalidator/cache"
)

// New returns the cache's view of a client.
func New(client redis.UniversalClient) cache.Redis { return adapter{client} }

type adapter struct{ client redis.UniversalClient }

func (a adapter) Do(ctx context.Context, _ string, words ...any) (any, error) {
	reply, err := a.client.Do(ctx, words...).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	var said redis.Error
	if errors.As(err, &said) {
		return nil, cache.Error(said.Error())
	}
	return reply, err
}

const pingEvery = time.Second

// Listen tells an L1 what daemons announce, until the context ends. It keeps a connection of its own.
func Listen(ctx context.Context, client redis.UniversalClient, l1 *cache.L1) {
	for ctx.Err() == nil {
		subscription := client.Subscribe(ctx, cache.Channel)
		hear(ctx, subscription, l1)
		l1.Lost()
		_ = subscription.Close()
	}
}

// hear returns when the link is broken: after a silence, a PING has to be answered.
func hear(ctx context.Context, subscription *redis.PubSub, l1 *cache.L1) {
	pinged := false
	for {
		received, err := subscription.ReceiveTimeout(ctx, pingEvery)
		var silence net.Error
		if errors.As(err, &silence) && silence.Timeout() && !pinged {
			if subscription.Ping(ctx) != nil {
				return
			}
			pinged = true
			continue
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(pingEvery):
			}
			return
		}
		pinged = false
		switch said := received.(type) {
		case *redis.Subscription:
			l1.Subscribed()
		case *redis.Message:
			l1.Hear([]byte(said.Payload))
		}
	}
}
