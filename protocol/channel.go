package protocol

import (
	"fmt"
	"strings"
)

// Kind is what a channel's name prefix makes of it.
type Kind uint8

// The kinds of channels. A cache kind replays its last event to a new
// subscriber; an encrypted kind is private to the server, which never sees a
// key; a user channel has the connections of one signed-in user.
const (
	Public Kind = iota
	Private
	Presence
	Encrypted
	Cache
	PrivateCache
	PresenceCache
	EncryptedCache
	User

	// NumKinds is how many kinds there are.
	NumKinds
)

// Kinds are all kinds, for those who count by kind.
func Kinds() []Kind {
	kinds := make([]Kind, NumKinds)
	for i := range kinds {
		kinds[i] = Kind(i)
	}
	return kinds
}

// prefixes are tried in order: the longest first.
var prefixes = []struct {
	prefix string
	kind   Kind
}{
	{"private-encrypted-cache-", EncryptedCache},
	{"private-encrypted-", Encrypted},
	{"private-cache-", PrivateCache},
	{"private-", Private},
	{"presence-cache-", PresenceCache},
	{"presence-", Presence},
	{"cache-", Cache},
	{PrefixUser, User},
}

// KindOf tells the kind of a channel by its exact prefix.
func KindOf(channel string) Kind {
	for _, p := range prefixes {
		if strings.HasPrefix(channel, p.prefix) {
			return p.kind
		}
	}
	return Public
}

// Authorized reports whether a subscription needs a signature.
func (k Kind) Authorized() bool { return k != Public && k != Cache && k != User }

// IsPresence reports whether subscribers are members with a user id.
func (k Kind) IsPresence() bool { return k == Presence || k == PresenceCache }

// IsCache reports whether the last event is replayed to a new subscriber.
func (k Kind) IsCache() bool {
	return k == Cache || k == PrivateCache || k == PresenceCache || k == EncryptedCache
}

// IsEncrypted reports whether event data is end-to-end encrypted.
func (k Kind) IsEncrypted() bool { return k == Encrypted || k == EncryptedCache }

// ClientEvents reports whether members may send client events: on private and
// presence channels, not on encrypted ones, where the server's word could not
// be told from a client's.
func (k Kind) ClientEvents() bool { return k.Authorized() && !k.IsEncrypted() }

func (k Kind) String() string {
	if k == Public {
		return "public"
	}
	for _, p := range prefixes {
		if p.kind == k {
			return strings.Trim(p.prefix, "#-")
		}
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// CheckChannel returns what is wrong with a channel name: empty, longer than
// max characters, or with a character outside Pusher's set
// (A-Z a-z 0-9 _ - = @ , . ;). The channel of a user may have any user id in
// its name.
func CheckChannel(name string, max int) error {
	if id, ok := strings.CutPrefix(name, PrefixUser); ok {
		if err := checkUserID(id); err != nil {
			return fmt.Errorf("channel name %q: %w", quoted(name), err)
		}
		return nil
	}
	if name == "" {
		return fmt.Errorf("channel name is empty")
	}
	for i := range len(name) {
		if !channelChar[name[i]] {
			return fmt.Errorf("channel name %q has a character outside A-Z a-z 0-9 _ - = @ , . ;", quoted(name))
		}
	}
	if len(name) > max {
		return fmt.Errorf("channel name %q is %d characters long, more than max_channel_name %d", quoted(name), len(name), max)
	}
	return nil
}

var channelChar = func() (set [256]bool) {
	const chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=@,.;"
	for i := range len(chars) {
		set[chars[i]] = true
	}
	return set
}()
