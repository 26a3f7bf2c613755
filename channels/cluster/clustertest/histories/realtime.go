package histories

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// In real time, a history takes some seconds, in which the machine has nothing to
// do: so many are played at once, more than there are processors. Rapid could
// not: it only draws them. What fails is shrunk by trying what is left without
// each part of it, all at once.

// concurrently plays the histories of n seeds from first.
func (o Options) concurrently(t *testing.T, histories *rapid.Generator[History], first, n int) {
	all := make([]History, n)
	for i := range all {
		all[i] = histories.Example(first + i)
	}
	for i, err := range o.playAll(t, all) {
		if err == nil {
			continue
		}
		h, err := o.shrink(t, all[i], err)
		t.Errorf("SEED=%d: %v\nHISTORY='%s'", first+i, err, h)
	}
}

// playAll plays histories, some at a time.
func (o Options) playAll(t *testing.T, all []History) []error {
	errs := make([]error, len(all))
	turns := make(chan struct{}, max(o.Parallel, 1))
	var playing sync.WaitGroup
	for i, h := range all {
		turns <- struct{}{}
		playing.Go(func() {
			defer func() { <-turns }()
			o.trace(h)
			errs[i] = o.play(t, h)
		})
	}
	playing.Wait()
	return errs
}

// shrink returns the smallest history that it finds within the environment's
// SHRINK, such as 5m, and how that fails.
func (o Options) shrink(t *testing.T, h History, err error) (History, error) {
	within, _ := time.ParseDuration(os.Getenv("SHRINK"))
	deadline := time.Now().Add(within)
	for size := (len(h) + 1) / 2; size > 0 && time.Now().Before(deadline); {
		var smaller []History
		for from := 0; from < len(h); from += size {
			smaller = append(smaller, slices.Concat(h[:from], h[min(from+size, len(h)):]))
		}
		errs := o.playAll(t, smaller)
		i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
		if i < 0 {
			size /= 2
			continue
		}
		h, err = smaller[i], errs[i]
		size = min(size, (len(h)+1)/2)
	}
	return h, err
}
