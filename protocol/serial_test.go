package protocol

import (
	"strings"
	"testing"
)

func TestSerial(t *testing.T) {
	for _, want := range []Serial{{"e", 0}, {"e", 41}, {"a-b", 1<<64 - 1}, {"-", 7}} {
		if got, ok := ParseSerial(want.String()); !ok || got != want {
			t.Errorf("%v became %v, %t", want, got, ok)
		}
	}
	for _, want := range []Serial{{"e", 0}, {"a-b", 1<<64 - 1}} {
		if got := SerialOf(Event{Name: "e", Channel: "c", Data: []byte(`"{\"serial\":\"x-1\"}"`), Serial: want}.Frame()); got != want {
			t.Errorf("of a frame: %v, want %v", got, want)
		}
	}
	if got := SerialOf(Event{Name: "e", Channel: "c", Data: []byte(`",\"serial\":\"x-1"`)}.Frame()); got != (Serial{}) {
		t.Errorf("of a frame without one: %v", got)
	}
	for _, text := range []string{"", "-", "e", "e-", "-41", "41", "e-x", "e--", "e-+1", "e-1 ", "e-18446744073709551616"} {
		if got, ok := ParseSerial(text); ok {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// A frame with a serial takes one allocation, as any.
func TestSerialFrameAllocates(t *testing.T) {
	e := Event{Name: "e", Channel: "c", Data: []byte(`"` + strings.Repeat("x", 1000) + `"`), Serial: Serial{strings.Repeat("e", 26), 1<<64 - 1}}
	message := e.Frame().JSON()
	if n := testing.AllocsPerRun(100, func() { e.Frame() }); n > 1 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { SerialFrame(message, e.Serial) }); n > 1 {
		t.Errorf("%v allocations to add one", n)
	}
}
