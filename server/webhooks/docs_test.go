package webhooks

import (
	"os"
	"regexp"
	"testing"

	"belfry/auth"
)

// The documented sample has the signature that its body gets with the documented
// credentials.
func TestDocumentedSignature(t *testing.T) {
	text, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		if m == nil {
			t.Fatalf("docs/webhooks.md has nothing like %s", pattern)
		}
		return string(m[1])
	}
	c := auth.Credentials{Key: find(`(?m)^    key: (\S+)`), Secret: find(`(?m)^    secret: (\S+)`)}
	if key := find(`X-Pusher-Key: (\S+)`); key != c.Key {
		t.Errorf("the sample has the key %s, the configuration %s", key, c.Key)
	}
	body := find(`(?s)X-Pusher-Signature: \S+\n\n(.*?)\n` + "```")
	if err := c.VerifyWebhook(find(`X-Pusher-Signature: (\S+)`), []byte(body)); err != nil {
		t.Errorf("%v: it is %s", err, c.SignWebhook([]byte(body)))
	}
}
