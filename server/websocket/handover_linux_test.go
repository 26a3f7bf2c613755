//go:build !blocking

package websocket

import (
	"bytes"
	"slices"
	"testing"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"belfry/server/internal/wstest"
)

// moved reads a client's bytes in pieces, and has other frames go on behind each.
func moved(t *rapid.T, data []byte, limit int) (e events) {
	f := new(frames)
	for data = bytes.Clone(data); len(data) > 0; {
		n := rapid.IntRange(1, len(data)).Draw(t, "piece")
		if end := f.push(data[:n:n], limit, &e); end != nil {
			e.end(end.code)
			return e
		}
		data = data[n:]
		text, err := json.Marshal(f.export())
		if err != nil {
			t.Fatal(err)
		}
		var part *ExportedPart
		next := new(frames)
		if err := json.Unmarshal(text, &part); err != nil {
			t.Fatal(err)
		}
		if err := next.restore(part); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if (f.part == nil) != (next.part == nil) {
			t.Fatalf("%s: a part has become %v", text, next.part)
		}
		f = next
	}
	return e
}

// What has come of a message, or of a frame, survives a handover wherever it is cut.
func TestPartsSurvive(t *testing.T) {
	sizes := rapid.SampledFrom([]int{0, 1, 2, 125, 126, 200, 70000})
	rapid.Check(t, func(t *rapid.T) {
		var data []byte
		payload := func(most int) []byte { return bytes.Repeat([]byte{'x'}, min(most, sizes.Draw(t, "size"))) }
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			first := rapid.SampledFrom([]byte{wstest.Text, wstest.Binary}).Draw(t, "opcode")
			for range rapid.IntRange(0, 2).Draw(t, "fragments") {
				data = append(data, wstest.Frame(first, payload(70000))...)
				data = append(data, wstest.Frame(wstest.Fin|wstest.Ping, payload(125))...)
				first = wstest.Continuation
			}
			data = append(data, wstest.Frame(wstest.Fin|first, payload(70000))...)
		}
		const limit = 1 << 20
		if got, want := moved(t, data, limit), ours(data, nil, limit); !slices.Equal(got, want) {
			t.Fatalf("%.1000s, and is %.1000s", got, want)
		}
	})
}

// A part that does not fit together is refused, and one that does can be read on.
func FuzzRestoredPart(f *testing.F) {
	for _, seed := range []string{
		`null`, `{}`, `{"head":"gQ=="}`, `{"head":"gYABAgME"}`, `{"opcode":1,"message":"eA=="}`, `{"frame":"gYMBAgME","read":1,"message":"eA=="}`,
		`{"frame":"iYMBAgME","read":2,"control":"eHg="}`, `{"opcode":2,"message":"eA==","frame":"AP4AfgECAwQ=","read":1}`,
		`{"frame":"gf//////////AQIDBA=="}`, `{"opcode":9}`, `{"frame":"gYMBAgME","read":-1}`, `{"frame":"gYMBAgME","read":3}`,
		`{"head":"AAAAAAAAAAAAAAAAAAAAAAAAAAA="}`, `{"control":"eA==","read":9,"frame":"iYMBAgME"}`, `{"frame":"iP8AAAAAAAAAAQECAwQ="}`,
	} {
		f.Add([]byte(seed), []byte("xyz\x81\x80\x01\x02\x03\x04"))
	}
	f.Fuzz(func(t *testing.T, state, data []byte) {
		var e *ExportedPart
		if json.Unmarshal(state, &e) != nil {
			return
		}
		var r frames
		if r.restore(e) != nil {
			return
		}
		if part := r.export(); part != nil {
			if err := new(frames).restore(part); err != nil {
				t.Fatalf("%s is taken, but not what it amounts to, %+v", state, part)
			}
		}
		_ = r.push(data, 1<<20, new(events)) // an end is as good
	})
}
