package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

const (
	pageDefault = 50
	pageMax     = 200    // a larger limit gives this many rows and a cursor
	eventsMax   = 10_000 // a larger limit gives this many events
)

// Get implements session.Store.
func (d *DB) Get(ctx context.Context, tenant, id string) (session.Session, error) {
	row, err := d.get(ctx, tenant, id)
	if err != nil {
		return session.Session{}, err
	}
	return row.session()
}

func (d *DB) get(ctx context.Context, tenant, id string) (*sessionRow, error) {
	row, err := d.one(ctx, "id = ?", uid(id))
	if err != nil {
		return nil, err
	}
	if row == nil || !row.visible(tenant) {
		return nil, session.ErrNotFound
	}
	return row, nil
}

// visible reports whether the tenant may see the session; "" sees every one.
func (r *sessionRow) visible(tenant string) bool {
	return tenant == "" || tenant == string(r.Tenant)
}

// one returns the row that a condition selects, or nil.
func (d *DB) one(ctx context.Context, where string, args ...any) (*sessionRow, error) {
	var rows []*sessionRow
	err := d.read(ctx).Raw("SELECT "+sessionColumns+" FROM sessions WHERE "+where, args...).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read session: %w", d.fail(ctx, err))
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return rows[0], nil
}

// List implements session.Store. Sessions created while pages are read come
// before the first page and do not shift the others.
func (d *DB) List(ctx context.Context, q session.Query) (list []session.Session, next string, err error) {
	limit := pageSize(q.Limit)
	find := d.read(ctx).Model(&sessionRow{}).Select(sessionColumns).Where("tenant = ?", text(q.Tenant))
	if q.Status != "" {
		find = find.Where("status = ?", text(q.Status))
	}
	if q.Manifest != "" {
		find = find.Where("manifest_name = ?", text(q.Manifest))
	}
	if q.Cursor != "" {
		at, id, err := parseCursor(q.Cursor)
		if err != nil || !uid(id).valid() {
			return nil, "", errCursor
		}
		find = find.Where("(created_at, id) < (?, ?)", at, uid(id))
	}
	var rows []*sessionRow
	if err := find.Order("created_at DESC, id DESC").Limit(limit + 1).Find(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", d.fail(ctx, err))
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = cursor(last.CreatedAt, string(last.ID))
	}
	list = make([]session.Session, len(rows))
	for i, r := range rows {
		if list[i], err = r.session(); err != nil {
			return nil, "", err
		}
	}
	return list, next, nil
}

func pageSize(limit int) int {
	if limit <= 0 {
		return pageDefault
	}
	return min(limit, pageMax)
}

var errCursor = fault.New(fault.Validation, "the cursor is not one of ours").
	With(fault.Detail{Pointer: "/cursor", Message: "not a cursor of this list", Remedy: "leave it out to begin at the newest, or pass the value of an earlier answer unchanged"})

// A cursor is the place of the last row of a page: its time and its key.
func cursor(at int64, key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(at, 10) + "." + key))
}

func parseCursor(s string) (at int64, key string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return 0, "", errCursor
	}
	number, key, ok := strings.Cut(string(b), ".")
	if at, err = strconv.ParseInt(number, 10, 64); err != nil || !ok {
		return 0, "", errCursor
	}
	return at, key, nil
}

// Events implements session.Store. It returns what is stored and checks
// nothing, so that whoever verifies a log sees where it is damaged.
func (d *DB) Events(ctx context.Context, id string, after int64, limit int) ([]session.Event, error) {
	var rows []struct {
		Seq      int64
		Type     text
		At       int64
		Data     []byte
		PrevHash digest
		Hash     digest
	}
	err := d.read(ctx).Raw(`SELECT seq, type, at, data, prev_hash, hash FROM events WHERE session_id = ? AND seq > ? ORDER BY seq LIMIT ?`,
		uid(id), after, max(0, min(limit, eventsMax))).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("events of session %s: %w", id, d.fail(ctx, err))
	}
	events := make([]session.Event, len(rows))
	for i, r := range rows {
		events[i] = session.Event{SessionID: id, Seq: r.Seq, Type: session.EventType(r.Type), Time: toTime(r.At), PrevHash: string(r.PrevHash), Hash: string(r.Hash)}
		if len(r.Data) > 0 {
			events[i].Data = r.Data
		}
	}
	return events, nil
}
