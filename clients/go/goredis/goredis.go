// Package goredis lets the cache use a client of go-redis: Client, ClusterClient or Ring.
package goredis

import (
	"context"
	"errors"

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
