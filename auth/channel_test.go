package auth

import (
	"strings"
	"testing"
)

const presenceData = `{"user_id":10,"user_info":{"name":"Mr. Channels"}}`

func TestSignChannel(t *testing.T) {
	tests := []struct {
		name, channel, channelData, digest string
	}{
		{"private", "private-foobar", "", "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"},
		{"presence", "presence-foobar", presenceData, "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"},
		{"private with data", "private-foobar", "extra", "59afa7180e1c17ddf8284788b3786d117673083f2f1c0a4c7ff7fb51355728b9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := creds.Key + ":" + tt.digest
			if got := creds.SignChannel("1234.1234", tt.channel, tt.channelData); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if err := creds.VerifyChannel(want, "1234.1234", tt.channel, tt.channelData); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestVerifyChannelRefuses(t *testing.T) {
	good := creds.SignChannel("1234.1234", "private-foobar", "")
	digest := strings.TrimPrefix(good, creds.Key+":")
	tests := []struct {
		name, token string
		kind        error
		parts       []string
	}{
		{"nothing", "", ErrNoSignature, []string{"auth endpoint"}},
		{"no key", digest, ErrKey, []string{"has no key"}},
		{"another key", "other:" + digest, ErrKey, []string{`"other"`, creds.Key}},
		{"key and secret swapped", creds.Secret + ":" + digest, ErrKey, []string{"swapped"}},
		{"no digest", creds.Key + ":", ErrSignature, nil},
		{"upper case", creds.Key + ":" + strings.ToUpper(digest), ErrSignature, nil},
		{"another secret", Credentials{Key: creds.Key, Secret: "other"}.SignChannel("1234.1234", "private-foobar", ""), ErrSignature,
			[]string{"socket_id:channel_name", "secret"}},
		{"long", creds.Key + ":" + strings.Repeat("a", 1<<20), ErrSignature, nil},
		{"line break", creds.Key + ":a\nb", ErrSignature, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := creds.VerifyChannel(tt.token, "1234.1234", "private-foobar", "")
			wantRefusal(t, err, tt.kind, tt.parts...)
			if _, given, ok := strings.Cut(tt.token, ":"); ok && given != "" && strings.Contains(err.Error(), given) || strings.Contains(err.Error(), digest) {
				t.Errorf("error %q holds a signature", err)
			}
		})
	}
}

func TestAnyChangeToAChannelAuthFails(t *testing.T) {
	const socketID, channel = "1234.1234", "presence-foobar"
	token := creds.SignChannel(socketID, channel, presenceData)
	verify := func(token, socketID, channel, data string) {
		t.Helper()
		if creds.VerifyChannel(token, socketID, channel, data) == nil {
			t.Errorf("verified token %q, socket id %q, channel %q, data %q", token, socketID, channel, data)
		}
	}
	for _, changed := range changes(token) {
		verify(changed, socketID, channel, presenceData)
	}
	for _, changed := range changes(socketID) {
		verify(token, changed, channel, presenceData)
	}
	for _, changed := range changes(channel) {
		verify(token, socketID, changed, presenceData)
	}
	for _, changed := range append(changes(presenceData), "") {
		verify(token, socketID, channel, changed)
	}
}

func BenchmarkVerifyChannel(b *testing.B) {
	token := creds.SignChannel("1234.1234", "presence-foobar", presenceData)
	b.ReportAllocs()
	for b.Loop() {
		if err := creds.VerifyChannel(token, "1234.1234", "presence-foobar", presenceData); err != nil {
			b.Fatal(err)
		}
	}
}
