package demo

import "sync"

type crm struct {
	mu       sync.Mutex
	count    int
	meetings []Meeting // the newest listMax
}

// A Meeting is the CRM's record of one.
type Meeting struct {
	ContactEmail string `json:"contact_email"`
	EventID      string `json:"event_id"`
	Title        string `json:"title"`
	Agenda       string `json:"agenda"`
}

func (c *crm) recordMeeting(r request) (any, error) {
	var in Meeting
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	var f fields
	f.email(in.ContactEmail, "contact_email")
	f.text(in.EventID, "event_id")
	f.text(in.Title, "title")
	f.text(in.Agenda, "agenda")
	if err := f.err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	c.meetings = newest(append(c.meetings, in))
	return map[string]any{"status": "recorded"}, nil
}

func (c *crm) listMeetings(request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return map[string]any{"count": c.count, "meetings": append([]Meeting{}, c.meetings...)}, nil
}
