package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// conversationID is the one conversation of this demo.
	conversationID = "1"
	channelName    = "private-chat.conversation." + conversationID
	// eventName is what Laravel calls the event of a class of this name, and
	// what Echo's .listen('ChatMessageReceived') binds to.
	eventName = `App\Events\ChatMessageReceived`

	maxBody = 8 << 10 // bytes of a request body
	maxText = 1000    // characters of one message
)

// socketIDs is the form of a socket id. One with more in it could carry another
// channel's name into the signature.
var socketIDs = regexp.MustCompile(`^\d{1,20}\.\d{1,20}$`)

// application is the backend. Its handlers may run concurrently.
type application struct {
	belfry   *publisher
	messages *conversation
}

func (a *application) routes(dist fs.FS) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/config", a.config)
	mux.HandleFunc("GET /api/conversations/{id}/messages", a.list)
	mux.HandleFunc("POST /api/conversations/{id}/messages", a.send)
	mux.HandleFunc("POST /broadcasting/auth", a.authorise)
	mux.Handle("GET /", a.secured(http.FileServerFS(dist)))
	// A page of another site must not write here or obtain an authorisation
	// with this user's browser.
	return http.NewCrossOriginProtection().Handler(mux)
}

// secured lets the page talk to itself and to Belfry, and to nothing else.
func (a *application) secured(next http.Handler) http.Handler {
	host := a.belfry.base.Host
	policy := strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:",
		"connect-src 'self' http://" + host + " https://" + host + " ws://" + host + " wss://" + host,
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// config answers with the options for Laravel Echo.
func (a *application) config(w http.ResponseWriter, _ *http.Request) {
	base := a.belfry.base
	tls := base.Scheme == "https"
	port := 80
	if tls {
		port = 443
	}
	if given, err := strconv.Atoi(base.Port()); err == nil {
		port = given
	}
	answer(w, http.StatusOK, map[string]any{
		"key":      a.belfry.credentials.Key,
		"wsHost":   base.Hostname(),
		"wsPort":   port,
		"wsPath":   strings.TrimSuffix(base.Path, "/"),
		"forceTLS": tls,
	})
}

// list answers with the messages whose id is above ?after, all without it, and
// with "realtime": whether the realtime server is there. A page that polls because
// it is not connects again when it is.
func (a *application) list(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("id") != conversationID {
		refuse(w, http.StatusNotFound, "no such conversation: this demo has conversation "+conversationID)
		return
	}
	var after int64
	if given := r.URL.Query().Get("after"); given != "" {
		var err error
		if after, err = strconv.ParseInt(given, 10, 64); err != nil || after < 0 {
			refuse(w, http.StatusBadRequest, "after must be the id of a message")
			return
		}
	}
	realtime := a.belfry.ready(r.Context()) // may take a while; the list is to be of now
	answer(w, http.StatusOK, map[string]any{"messages": a.messages.after(after), "realtime": realtime})
}

// send stores a message and broadcasts it to everybody but the sender's own
// connection, which X-Socket-ID names. A message that is stored but could not
// be broadcast is no error to its sender, who is told "delivered": false; the
// others find it when they next ask for the list.
func (a *application) send(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("id") != conversationID {
		refuse(w, http.StatusNotFound, "no such conversation: this demo has conversation "+conversationID)
		return
	}
	var sent struct {
		Role   string  `json:"role"`
		Text   string  `json:"text"`
		SentAt float64 `json:"sent_at"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&sent); err != nil {
		refuseBody(w, err, "the body must be a JSON object with role, text and sent_at")
		return
	}
	sent.Text = strings.TrimSpace(sent.Text)
	if length := utf8.RuneCountInString(sent.Text); length == 0 || length > maxText {
		refuse(w, http.StatusUnprocessableEntity, "text must have 1 to "+strconv.Itoa(maxText)+" characters")
		return
	}
	if sent.Role != "visitor" && sent.Role != "support" {
		refuse(w, http.StatusUnprocessableEntity, "role must be visitor or support")
		return
	}
	socketID := r.Header.Get("X-Socket-ID")
	if socketID != "" && !socketIDs.MatchString(socketID) {
		refuse(w, http.StatusBadRequest, "X-Socket-ID is not a socket id")
		return
	}
	stored := a.messages.add(message{Role: sent.Role, Text: sent.Text, SentAt: sent.SentAt, CreatedAt: time.Now().UTC()})
	delivered := true
	// The others are to get it even if the sender leaves at once.
	ctx := context.WithoutCancel(r.Context())
	if err := a.belfry.publish(ctx, channelName, eventName, map[string]any{"message": stored}, socketID); err != nil {
		slog.Warn("message not broadcast", "id", stored.ID, "error", err)
		delivered = false
	}
	answer(w, http.StatusCreated, map[string]any{"message": stored, "delivered": delivered})
}

// authorise signs the subscription to the demo's private channel, and no other.
// A real application asks its session here who the user is.
func (a *application) authorise(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var asked struct {
		SocketID    string `json:"socket_id"`
		ChannelName string `json:"channel_name"`
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/json" {
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			refuseBody(w, err, "the body must be a JSON object with socket_id and channel_name")
			return
		}
	} else {
		if err := r.ParseForm(); err != nil {
			refuseBody(w, err, "the body must be a form with socket_id and channel_name")
			return
		}
		asked.SocketID, asked.ChannelName = r.PostForm.Get("socket_id"), r.PostForm.Get("channel_name")
	}
	if !socketIDs.MatchString(asked.SocketID) {
		refuse(w, http.StatusBadRequest, "socket_id is not a socket id")
		return
	}
	if asked.ChannelName != channelName {
		refuse(w, http.StatusForbidden, "this demo authorises "+channelName+" only")
		return
	}
	answer(w, http.StatusOK, map[string]string{"auth": a.belfry.credentials.SignChannel(asked.SocketID, asked.ChannelName, "")})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil && !errors.Is(err, net.ErrClosed) {
		slog.Debug("answer not written", "error", err)
	}
}

func refuse(w http.ResponseWriter, status int, reason string) {
	answer(w, status, map[string]string{"message": reason})
}

// refuseBody tells a body that is too large from one that is malformed.
func refuseBody(w http.ResponseWriter, err error, reason string) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, "the body must not be larger than "+strconv.FormatInt(tooLarge.Limit, 10)+" bytes")
		return
	}
	refuse(w, http.StatusBadRequest, reason)
}
