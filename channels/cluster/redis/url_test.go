package redis

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestURL(t *testing.T) {
	for url, want := range map[string]struct {
		addrs               []string
		user, password      string
		database            int
		tls                 bool
		masterSet           string
		sentinel, sentinel2 string
	}{
		"redis://127.0.0.1":                       {addrs: []string{"127.0.0.1:6379"}},
		"redis://127.0.0.1:6380/":                 {addrs: []string{"127.0.0.1:6380"}},
		"redis://:se%2Fcret@r/3":                  {addrs: []string{"r:6379"}, password: "se/cret", database: 3},
		"rediss://user:secret@r:1/":               {addrs: []string{"r:1"}, user: "user", password: "secret", tls: true},
		"redis://[::1]:7000?addr=b:1&addr=c:6379": {addrs: []string{"[::1]:7000", "b:1", "c:6379"}},
		"redis://u:p@s:26379/2?master_set=m&sentinel_username=su&sentinel_password=sp": {addrs: []string{"s:26379"}, user: "u", password: "p", database: 2, masterSet: "m", sentinel: "su", sentinel2: "sp"},
	} {
		d, err := New(Options{URL: url})
		if err != nil {
			t.Errorf("%s: error %v", url, err)
			continue
		}
		c := d.client
		if !slices.Equal(c.InitAddress, want.addrs) || c.Username != want.user || c.Password != want.password || c.SelectDB != want.database ||
			(c.TLSConfig != nil) != want.tls || c.Sentinel.MasterSet != want.masterSet || c.Sentinel.Username != want.sentinel || c.Sentinel.Password != want.sentinel2 {
			t.Errorf("%s: %+v", url, c)
		}
	}
}

const secret = "s3cr3t"

func TestWrongURL(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:6379", "http://u:s3cr3t@h", "redis://", "redis:///1", "redis://h/x", "redis://u:s3cr3t@h/s3cr3t", "redis://h/-1", "redis://h/1/2",
		"redis://u:s3cr3t/x@h/1", "redis://u:s3cr3t\x7f@h", "redis://u:%s3cr3t@h", "redis://h?s3cr3t=1", "redis://h?db=s3cr3t", "rediss://h?skip_verify=1", "redis://h:s3cr3t", "redis://h?addr=s3cr3t", "redis://h:99999999", "redis://h:0", "redis://h?addr=h:65536"} {
		d, err := New(Options{URL: url})
		if err == nil {
			t.Errorf("%q is accepted as %+v", url, d.client)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the error tells the password: %v", url, err)
		}
	}
	if _, err := New(Options{URL: "redis://h", Prefix: "a}b"}); err == nil {
		t.Error("a prefix with a brace is accepted")
	}
}

// FuzzURL: no error tells what is in the URL.
func FuzzURL(f *testing.F) {
	for _, seed := range []string{"redis://u:s3cr3t@h/1", "rediss://:s3cr3t@h:x", "redis://h/s3cr3t", "redis://u:s3cr3t@h?master_set=m", "s3cr3t", "redis://[s3cr3t", "redis://h?addr=%s3cr3t"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		if _, err := New(Options{URL: url}); err != nil && strings.Contains(err.Error(), secret) {
			t.Error(err)
		}
	})
}

func TestErrorsWithoutPassword(t *testing.T) {
	d, err := New(Options{URL: "redis://u:" + secret + "@h"})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.note(errors.New("ERR unknown command 'HELLO' '3' 'AUTH' 'u' '" + secret + "'")); strings.Contains(got.Error(), secret) {
		t.Error(got)
	}
}
