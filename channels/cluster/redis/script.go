package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

//go:embed lua/update.lua
var updateText string

//go:embed lua/keep.lua
var keepText string

//go:embed lua/history.lua
var historyText string

//go:embed lua/take.lua
var takeText string

//go:embed lua/dead.lua
var deadText string

//go:embed lua/lease.lua
var leaseText string

//go:embed lua/register.lua
var registerText string

//go:embed lua/once.lua
var onceText string

//go:embed lua/states.lua
var statesText string

var (
	updateScript   = newScript(updateText)
	keepScript     = newScript(keepText)
	onceScript     = newScript(onceText)
	historyScript  = newScript(historyText)
	takeScript     = newScript(takeText)
	deadScript     = newScript(deadText)
	leaseScript    = newScript(leaseText)
	registerScript = newScript(registerText)
	statesScript   = newScript(statesText)
)

// script is run by its hash, which Redis knows once it has seen the text.
type script struct{ text, hash string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// call is a script with what it is run on.
type call struct {
	script     script
	keys, args []string
}

// command is the call by the hash, or with the text.
func (c call) command(b rueidis.Builder, text bool) rueidis.Completed {
	if text {
		return b.Eval().Script(c.script.text).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
	}
	return b.Evalsha().Sha1(c.script.hash).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}

// do runs a command in its turn.
func (s *session) do(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	return s.doAll(ctx, command)[0]
}

// doAll runs commands in their turn. Those of one server take one round trip.
func (s *session) doAll(ctx context.Context, commands ...rueidis.Completed) []rueidis.RedisResult {
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		results := make([]rueidis.RedisResult, len(commands))
		for i := range results {
			results[i] = rueidis.NewErrorResult(ctx.Err())
		}
		return results
	}
	defer func() { <-s.turns }()
	if len(commands) == 1 {
		return []rueidis.RedisResult{s.client.Do(ctx, commands[0])}
	}
	return s.client.DoMulti(ctx, commands...)
}

// run runs scripts. One that Redis does not know yet has done nothing, and is
// sent again with its text.
func (s *session) run(ctx context.Context, calls ...call) []rueidis.RedisResult {
	commands := make([]rueidis.Completed, len(calls))
	for i, c := range calls {
		commands[i] = c.command(s.client.B(), false)
	}
	results := s.doAll(ctx, commands...)
	for i, r := range results {
		if e, ok := rueidis.IsRedisErr(r.Error()); ok && e.IsNoScript() {
			results[i] = s.do(ctx, calls[i].command(s.client.B(), true))
		}
	}
	return results
}

var (
	errLate = errors.New("the server did not come to it in time")
	errLost = errors.New("the lease of this node has run out")
)

// answer is what a script with a deadline returned, after its status and time.
type answer struct {
	status string
	clock  string // in µs
	rest   []rueidis.RedisMessage
}

func parseAnswer(result rueidis.RedisResult) (a answer, err error) {
	array, err := result.ToArray()
	if err != nil {
		return a, err
	}
	r := reader{rest: array}
	a.status, a.clock = r.string(), r.string()
	a.rest = r.rest
	return a, r.err()
}

// before is a call that Redis executes only while there is time. The first of
// its arguments is left for the deadline.
func (s *session) before(ctx context.Context, deadline time.Time, clock string, c call) (answer, error) {
	for {
		c.args[0] = s.clocks.redis(clock, deadline)
		a, err := parseAnswer(s.run(ctx, c)[0])
		back := time.Now()
		if err != nil {
			return answer{}, err
		}
		now, err := strconv.ParseInt(a.clock, 10, 64)
		if err != nil {
			return answer{}, errAnswer
		}
		s.clocks.set(clock, now, back)
		if a.status != "late" {
			return a, nil
		}
		if !back.Before(deadline) {
			return answer{}, errLate
		}
	}
}

var errAnswer = errors.New("the server answered what it should not")

// clocks are how the times of the servers compare to ours, by tag: in a Redis
// Cluster each server has its own.
type clocks struct {
	mu   sync.Mutex
	base time.Time
	// offset is Redis' time less ours since base, in µs: at most what it is, by
	// the time of a round trip.
	offset map[string]int64
}

func newClocks() *clocks { return &clocks{base: time.Now(), offset: make(map[string]int64)} }

// redis is the time there, as text: 0 if it is not known yet, which is always
// too late, and has the script tell its time.
func (c *clocks) redis(tag string, t time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	offset, ok := c.offset[tag]
	if !ok {
		return "0"
	}
	return strconv.FormatInt(t.Sub(c.base).Microseconds()+offset, 10)
}

// set notes what time it was there, at most, at t.
func (c *clocks) set(tag string, there int64, t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.offset) >= maxClocks {
		clear(c.offset)
	}
	c.offset[tag] = there - t.Sub(c.base).Microseconds()
}

// maxClocks bounds the buckets whose clock is known.
const maxClocks = 1 << 14

// itoa is for arguments.
func itoa[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// bool01 is for arguments.
func bool01(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// unknown says whether an error came about on this side or on the way, so that
// nobody knows what Redis did.
func unknown(err error) bool {
	_, ofRedis := rueidis.IsRedisErr(err)
	return err != nil && !ofRedis && !errors.Is(err, errLate) && !errors.Is(err, errAnswer)
}

// refuses says whether a server answered that it is not the one to ask now.
func refuses(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	for _, p := range []string{"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "NOREPLICAS", "MISCONF", "OOM"} {
		if strings.HasPrefix(e.Error(), p) {
			return true
		}
	}
	return false
}
