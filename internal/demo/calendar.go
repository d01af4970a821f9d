package demo

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"
)

// Everybody in this world is free at these times and no others. A booking does
// not take a slot away, so that any number of sessions meets the same world.
var freeFrom = []time.Time{
	time.Date(2026, 4, 3, 10, 0, 0, 0, time.FixedZone("", -7*3600)),
	time.Date(2026, 4, 4, 14, 0, 0, 0, time.FixedZone("", -7*3600)),
}

// firstEvent is the number behind the first event's id, ev_12345abcd.
const firstEvent = 0x12345abcd

// listMax is how many of the newest records a list shows.
const listMax = 100

type calendar struct {
	mu     sync.Mutex
	booked int // events made by createEvent
	count  int
	events []Event // the newest listMax
}

// An Event is a calendar entry.
type Event struct {
	ID           string   `json:"event_id"`
	Start        string   `json:"start"`
	End          string   `json:"end"`
	Participants []string `json:"participants"`
	Agenda       string   `json:"agenda"`
	Title        string   `json:"title"`
}

type slot struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

func (c *calendar) freeSlots(r request) (any, error) {
	var in struct {
		Participants    []string `json:"participants"`
		DurationMinutes int      `json:"duration_minutes"`
	}
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	var f fields
	f.participants(in.Participants)
	f.check(in.DurationMinutes >= 15 && in.DurationMinutes <= 480, "duration_minutes", "must be between 15 and 480")
	if err := f.err(); err != nil {
		return nil, err
	}
	slots := make([]slot, len(freeFrom))
	for i, t := range freeFrom {
		end := t.Add(time.Duration(in.DurationMinutes) * time.Minute)
		slots[i] = slot{t.Format(time.RFC3339), end.Format(time.RFC3339)}
	}
	return map[string]any{"slots": slots}, nil
}

func (c *calendar) createEvent(r request) (any, error) {
	var in Event
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	var f fields
	f.check(in.ID == "", "event_id", "is given by the service")
	start, end := f.time(in.Start, "start"), f.time(in.End, "end")
	f.check(end.After(start), "end", "must be after start")
	f.participants(in.Participants)
	f.text(in.Agenda, "agenda")
	f.text(in.Title, "title")
	if err := f.err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	in.ID = fmt.Sprintf("ev_%x", firstEvent+c.booked)
	c.booked++
	c.count++
	c.events = newest(append(c.events, in))
	return map[string]any{"event_id": in.ID}, nil
}

// createMeeting books a meeting that a message asked for. It is a second, older
// way in with its own ids.
func (c *calendar) createMeeting(r request) (any, error) {
	var in struct {
		EmailID      string   `json:"email_id"`
		DateTime     string   `json:"date_time"`
		Participants []string `json:"participants"`
	}
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	var f fields
	f.text(in.EmailID, "email_id")
	start := f.time(in.DateTime, "date_time")
	f.participants(in.Participants)
	if err := f.err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := Event{
		ID:           "event-" + rand.Text(),
		Start:        in.DateTime,
		End:          start.Add(30 * time.Minute).Format(time.RFC3339),
		Participants: in.Participants,
		Title:        "Meeting about " + in.EmailID,
	}
	c.count++
	c.events = newest(append(c.events, e))
	return map[string]any{"event_id": e.ID}, nil
}

func (c *calendar) listEvents(request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return map[string]any{"count": c.count, "events": append([]Event{}, c.events...)}, nil
}

func (f *fields) participants(list []string) {
	f.check(len(list) > 0 && len(list) <= 100, "participants", "must name between 1 and 100 people")
	for i, p := range list {
		f.email(p, fmt.Sprintf("participants[%d]", i))
	}
}

// newest keeps the last listMax elements.
func newest[T any](list []T) []T {
	if n := len(list) - listMax; n > 0 {
		return append(list[:0], list[n:]...)
	}
	return list
}
