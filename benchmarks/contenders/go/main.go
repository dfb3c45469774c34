// A consumer as a team writes it in Go: franz-go, batches of 5,000, UNLINK of 256 keys in one
// pipeline, then a commit. Arguments: bootstrap servers, topic, group, Redis URL.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	batch      = 5_000
	perCommand = 256
)

type event struct {
	Type string `json:"type"`
	Data struct {
		OrderID    string `json:"orderId"`
		CustomerID string `json:"customerId"`
	} `json:"data"`
}

func main() {
	if err := consume(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}

func consume(ctx context.Context, bootstrap, topic, group, redisURL string) error {
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	cache := redis.NewClient(options)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumeTopics(topic),
		kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {
			fmt.Fprintln(os.Stderr, "assigned")
		}),
	)
	if err != nil {
		return err
	}
	for {
		fetches := client.PollRecords(ctx, batch)
		if errs := fetches.Errors(); len(errs) > 0 {
			return errs[0].Err
		}
		keys, err := keysOf(fetches)
		if err != nil {
			return err
		}
		if err := unlink(ctx, cache, keys); err != nil {
			return err
		}
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
	}
}

func keysOf(fetches kgo.Fetches) ([]string, error) {
	keys := make([]string, 0, 2*batch)
	for records := fetches.RecordIter(); !records.Done(); {
		var e event
		if err := json.Unmarshal(records.Next().Value, &e); err != nil {
			return nil, err
		}
		if e.Type == "order.updated" {
			keys = append(keys, "order:single:"+e.Data.OrderID, "orders:count:"+e.Data.CustomerID)
		}
	}
	return keys, nil
}

func unlink(ctx context.Context, cache *redis.Client, keys []string) error {
	_, err := cache.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for len(keys) > 0 {
			few := keys[:min(perCommand, len(keys))]
			keys = keys[len(few):]
			pipe.Unlink(ctx, few...)
		}
		return nil
	})
	return err
}
