package websocket

import (
	"bytes"
	"testing"
)

// byFrames is what the scanner should make of a whole stream: the bytes that
// are fed, in order; those of an unfinished message; what is left behind them;
// and how it ended.
func byFrames(data []byte, limit int) (fed, unfinished, rest []byte, v verdict) {
	var size int64
	for {
		h, ok := parseHeader(data)
		if !ok {
			return fed, unfinished, data, fine
		}
		open := len(unfinished) > 0
		switch {
		case h.breaksRules(open):
			return fed, unfinished, data, broken
		case !h.control && h.payload > int64(limit)-size:
			return fed, unfinished, data, tooBig
		case h.payload > int64(len(data)-h.length):
			return fed, unfinished, data, fine
		}
		var frame []byte
		frame, data = data[:h.length+int(h.payload)], data[h.length+int(h.payload):]
		switch {
		case h.control:
			fed = append(fed, frame...)
		case h.fin:
			fed = append(append(fed, unfinished...), frame...)
			unfinished, size = nil, 0
		default:
			unfinished = append(unfinished, frame...)
			size += h.payload
		}
	}
}

// FuzzScanner feeds frames in arbitrary chunks: what comes out does not depend
// on where they are cut.
func FuzzScanner(f *testing.F) {
	f.Fuzz(func(t *testing.T, data, cuts []byte, limit uint16) {
		wantFed, wantUnfinished, wantRest, want := byFrames(data, int(limit))
		bound := 2*int(limit) + 4096

		var s scanner
		var kept, fed []byte
		v := fine
		for left := data; len(left) > 0 && v == fine; {
			n := len(left)
			if len(cuts) > 0 {
				n = min(n, int(cuts[0])+1)
				cuts = cuts[1:]
			}
			kept = append(kept, left[:n]...)
			left = left[n:]
			n, v = s.whole(kept, int(limit))
			fed = append(fed, kept[:n]...)
			kept = append([]byte(nil), kept[n:]...)
			if v == fine && len(kept) > bound {
				t.Fatalf("%d bytes are kept with a limit of %d", len(kept), limit)
			}
		}
		switch {
		case v == tooBig && len(kept) > bound:
			// Fragments of little or no payload: the rest was not looked at.
			if !bytes.HasPrefix(wantFed, fed) {
				t.Fatalf("fed % x, want a beginning of % x", fed, wantFed)
			}
		case v != want:
			t.Fatalf("verdict %d, want %d", v, want)
		case !bytes.Equal(fed, wantFed):
			t.Fatalf("fed % x, want % x", fed, wantFed)
		}
		if v == fine && !bytes.Equal(kept, append(bytes.Clone(wantUnfinished), wantRest...)) {
			t.Fatalf("kept % x, want % x and % x", kept, wantUnfinished, wantRest)
		}
	})
}
