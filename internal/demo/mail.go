package demo

import (
	"crypto/rand"
	"strconv"
	"sync"
)

// messagesMax bounds how many messages one request may ask for.
const messagesMax = 50

type mailbox struct {
	mu    sync.Mutex
	count int
	sent  []Mail // the newest listMax
}

// A Mail is a sent message.
type Mail struct {
	ID      string `json:"message_id"`
	To      string `json:"to"`
	Subject string `json:"subject"`
	Body    string `json:"body"`
}

// A Message is one that waits in the inbox.
type Message struct {
	ID      string `json:"id"`
	Subject string `json:"subject"`
	Snippet string `json:"snippet"`
	From    string `json:"from"`
}

var inbox = []Message{
	{"msg-1", "Project kickoff", "Let’s schedule the kickoff for the new project on April 6 at 9:00.", "alice@example.com"},
	{"msg-2", "Invoice #1234", "Please see attached.", "billing@example.com"},
}

func (m *mailbox) unread(r request) (any, error) {
	n := 5
	if s := r.query("max_results"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		var f fields
		f.check(err == nil && n >= 1 && n <= messagesMax, "max_results", "must be a number between 1 and 50")
		if err := f.err(); err != nil {
			return nil, err
		}
	}
	return map[string]any{"emails": inbox[:min(n, len(inbox))]}, nil
}

func (m *mailbox) send(r request) (any, error) {
	var in Mail
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	var f fields
	f.check(in.ID == "", "message_id", "is given by the service")
	f.email(in.To, "to")
	f.text(in.Subject, "subject")
	f.text(in.Body, "body")
	if err := f.err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	in.ID = "mail-" + rand.Text()
	m.count++
	m.sent = newest(append(m.sent, in))
	return map[string]any{"sent": true, "message_id": in.ID}, nil
}

func (m *mailbox) listSent(request) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return map[string]any{"count": m.count, "sent": append([]Mail{}, m.sent...)}, nil
}
