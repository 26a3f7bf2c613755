package channels

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels/cluster"
)

// An event with a key is published once in five minutes on its channel.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := NewBroker(1, nil)
		defer broker.Close()
		a := broker.NewApp("1", Limits{CacheTTL: time.Hour}, new(counts), nil)
		r, _ := subscribe(t, a, "cache-c")
		other, _ := subscribe(t, a, "d")
		publish := func(channel, key, data string) {
			t.Helper()
			if err := a.Publish(Publication{Event: event(channel, data), Key: key}); err != nil {
				t.Error(err)
			}
			if _, err := a.Offer(Publication{Event: event(channel, data+" again"), Key: key}); err != nil {
				t.Error(err)
			}
		}
		publish("cache-c", "k", "1")
		publish("d", "k", "1")
		publish("cache-c", "l", "2")
		time.Sleep(cluster.OnceFor - time.Second)
		publish("cache-c", "k", "within")
		time.Sleep(time.Second)
		publish("cache-c", "k", "3")
		synctest.Wait()
		if got := r.data(); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("got %q", got)
		}
		if got := other.data(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("on another channel, got %q", got)
		}
	})
}

// Keys move to another process.
func TestOnceMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var apps []*App
		for range 2 {
			broker := NewBroker(1, nil)
			defer broker.Close()
			apps = append(apps, broker.NewApp("1", Limits{}, new(counts), nil))
		}
		r, _ := subscribe(t, apps[1], "c")
		publish := func(a *App, key, data string) {
			t.Helper()
			if err := a.Publish(Publication{Event: event("c", data), Key: key}); err != nil {
				t.Error(err)
			}
		}
		publish(apps[0], "k", "1")
		time.Sleep(time.Minute)
		publish(apps[0], "l", "2")
		apps[1].RestoreKeys(apps[0].ExportKeys())
		publish(apps[1], "k", "again")
		time.Sleep(cluster.OnceFor - time.Minute)
		publish(apps[1], "k", "3")
		publish(apps[1], "l", "again")
		synctest.Wait()
		if got := r.data(); !slices.Equal(got, []string{"3"}) {
			t.Errorf("got %q", got)
		}
	})
}

// Keys are bounded: the oldest is forgotten.
func TestOnceIsBounded(t *testing.T) {
	var o once
	now := time.Now()
	key := func(i int) Publication { return Publication{Event: event("c", "x"), Key: fmt.Sprint(i)} }
	for i := range maxOnce + 1 {
		if !o.first(key(i), now) {
			t.Fatal("a new key is known")
		}
	}
	if len(o.keys) != maxOnce || len(o.queue) != maxOnce {
		t.Errorf("%d keys, %d in the queue", len(o.keys), len(o.queue))
	}
	if o.first(key(1), now) || !o.first(key(0), now) {
		t.Error("another one than the oldest is forgotten")
	}
	o.first(key(-1), now.Add(cluster.OnceFor))
	if len(o.keys) != 1 || len(o.queue) != 1 {
		t.Errorf("%d keys, %d in the queue are left", len(o.keys), len(o.queue))
	}
}
