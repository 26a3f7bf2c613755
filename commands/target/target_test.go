package target

import (
	"strings"
	"testing"

	"belfry/server/config"
)

// Whoever is told to change something is told where it is.
func TestFrom(t *testing.T) {
	env := config.Env{"REVERB_APP_ID": "1", "REVERB_APP_KEY": "k", "REVERB_APP_SECRET": "hunter2", "REVERB_HOST": "127.0.0.1", "REVERB_PORT": "8080", "REVERB_SCHEME": "http",
		"REVERB_SERVER_PATH": "/ws"}
	for _, tt := range []struct {
		flags Flags
		pages string // more variables
		want  string // WebSocket, API, and where they are from
	}{
		{Flags{}, "", "http://127.0.0.1:8080/ws http://127.0.0.1:8080/ws REVERB_HOST REVERB_HOST REVERB_APP_ID REVERB_APP_KEY REVERB_APP_SECRET"},
		{Flags{}, "ws.example.com", "https://ws.example.com:443/ws http://127.0.0.1:8080/ws VITE_REVERB_HOST REVERB_HOST REVERB_APP_ID REVERB_APP_KEY REVERB_APP_SECRET"},
		{Flags{URL: "wss://other.example.com/", Key: "l"}, "", "https://other.example.com https://other.example.com --url --url REVERB_APP_ID --key REVERB_APP_SECRET"},
		{Flags{URL: "https://other.example.com/p/", APIURL: "http://10.0.0.1"}, "", "https://other.example.com/p http://10.0.0.1 --url --api-url REVERB_APP_ID REVERB_APP_KEY REVERB_APP_SECRET"},
		{Flags{URL: "https://h", AppID: "1", Key: "k", Secret: "s"}, "", "https://h https://h --url --url --app-id --key --secret"},
	} {
		env["VITE_REVERB_HOST"] = tt.pages
		found, err := Find(tt.flags, env)
		if err != nil {
			t.Error(err)
			continue
		}
		got := strings.Join([]string{found.WebSocket.String(), found.API.String(), found.From.URL, found.From.API, found.From.ID, found.From.Key, found.From.Secret}, " ")
		if got != tt.want || found.Own {
			t.Errorf("%+v: %s", tt.flags, got)
		}
	}
	found, err := Find(Flags{}, config.Env{"BELFRY_LISTEN": "[::]:8080", "SOKETI_SSL_CERT": "c.pem", "SOKETI_SSL_KEY": "k.pem"})
	if err != nil || found.WebSocket.String() != "https://127.0.0.1:8080" || !found.Own || found.TLS == nil || found.From.URL != "server.listen" || found.From.Key != "--key" {
		t.Errorf("%+v, %v", found, err)
	}
	if found.Need(false) == nil || found.Need(true) == nil {
		t.Error("an app is there")
	}
}
