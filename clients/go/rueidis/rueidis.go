// Package rueidis lets the cache use a client of rueidis, standalone or cluster.
package rueidis

import (
	"context"
	"fmt"

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
