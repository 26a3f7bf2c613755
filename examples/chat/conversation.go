package main

import (
	"slices"
	"sync"
	"time"
)

// maxMessages is how many messages a conversation keeps; the oldest go first.
const maxMessages = 200

// message is one chat message, as stored, broadcast and shown.
type message struct {
	ID   int64  `json:"id"`
	Role string `json:"role"` // "visitor" or "support"
	Text string `json:"text"`
	// SentAt is the sender's clock when it sent, in milliseconds since 1970:
	// the receiver shows how long the message took.
	SentAt    float64   `json:"sent_at"`
	CreatedAt time.Time `json:"created_at"`
}

// conversation holds the messages of the one conversation of this demo. The zero
// value is empty; all methods may be called concurrently.
type conversation struct {
	mu       sync.Mutex // guards what follows
	lastID   int64
	messages []message
}

// add stores m under the next id.
func (c *conversation) add(m message) message {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID++
	m.ID = c.lastID
	if len(c.messages) == maxMessages {
		c.messages = slices.Delete(c.messages, 0, 1)
	}
	c.messages = append(c.messages, m)
	return m
}

// after returns the stored messages with an id above the given one.
func (c *conversation) after(id int64) []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, _ := slices.BinarySearchFunc(c.messages, id, func(m message, id int64) int {
		if m.ID <= id {
			return -1
		}
		return 1
	})
	return append([]message{}, c.messages[first:]...)
}
