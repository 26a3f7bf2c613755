package load

import "bytes"

// serial is the rest of a message on a channel with a history: a serial, and what ends
// the message.
type serial struct {
	end   []byte
	epoch []byte // of the first message: it must not change; nil: none has come
}

// parse returns the number of the serial that a message ends with. The form is that of
// [belfry/protocol.Serial], which it does not use as that would allocate.
func (s *serial) parse(rest []byte) (number uint64, ok bool) {
	text, ok := bytes.CutSuffix(rest, s.end)
	at := bytes.LastIndexByte(text, '-')
	if !ok || at < 1 {
		return 0, false
	}
	epoch, digits := text[:at], text[at+1:]
	if number, ok = parseDigits(digits); !ok || len(digits) == 0 || len(digits) > maxDigits || digits[0] == '0' {
		return 0, false
	}
	if s.epoch == nil {
		// Another field of the message would be a part of it.
		if bytes.ContainsAny(epoch, `"\`) {
			return 0, false
		}
		s.epoch = bytes.Clone(epoch)
	}
	return number, bytes.Equal(epoch, s.epoch)
}

// maxDigits is how many digits of a number cannot overflow.
const maxDigits = 19
