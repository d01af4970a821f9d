package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

type manifestRow struct {
	Tenant    text
	Name      text
	Version   text
	Digest    text
	Codec     int
	Source    []byte
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

func (r *manifestRow) ref() session.ManifestRef {
	return session.ManifestRef{Name: string(r.Name), Version: string(r.Version), Digest: string(r.Digest)}
}

// PutManifest implements session.Store. The time is the database's.
func (d *DB) PutManifest(ctx context.Context, m session.StoredManifest) (created bool, err error) {
	if err := errors.Join(
		checkLength("tenant", m.Tenant, tenantBytesMax),
		checkLength("name", m.Ref.Name, nameBytesMax),
		checkLength("version", m.Ref.Version, versionBytesMax),
		checkLength("digest", m.Ref.Digest, versionBytesMax),
	); err != nil {
		return false, err
	}
	s := d.sql()
	codec, source := d.codec.pack(m.Source)
	// Times within a tenant differ, so that "newest" has one answer.
	res := d.write(ctx).Exec(`INSERT INTO manifests (tenant, name, version, digest, codec, source, created_at)
		SELECT ?, ?, ?, ?, ?, ?, CASE WHEN newest >= `+s.now+` THEN newest + 1 ELSE `+s.now+` END
		FROM (SELECT COALESCE(MAX(created_at), 0) AS newest FROM manifests WHERE tenant = ?) AS t
		WHERE true ON CONFLICT (tenant, name, version) DO NOTHING`,
		text(m.Tenant), text(m.Ref.Name), text(m.Ref.Version), text(m.Ref.Digest), codec, notNil(source), text(m.Tenant))
	if res.Error != nil {
		return false, fmt.Errorf("store manifest %s@%s: %w", m.Ref.Name, m.Ref.Version, d.fail(ctx, res.Error))
	}
	if res.RowsAffected > 0 {
		return true, nil
	}
	have, err := d.GetManifest(ctx, m.Tenant, session.ManifestRef{Name: m.Ref.Name, Version: m.Ref.Version})
	if err != nil {
		return false, err
	}
	if have.Ref.Digest != m.Ref.Digest {
		return false, fault.New(fault.ManifestConflict, "manifest %s@%s is registered with other content", m.Ref.Name, m.Ref.Version).With(fault.Detail{
			Pointer: "/version", Message: "registered with digest " + have.Ref.Digest, Remedy: "give the new content a new version",
		})
	}
	return false, nil
}

// GetManifest implements session.Store.
func (d *DB) GetManifest(ctx context.Context, tenant string, ref session.ManifestRef) (session.StoredManifest, error) {
	find := d.read(ctx).Table("manifests").Where("tenant = ?", text(tenant))
	switch {
	case ref.Digest != "":
		find = find.Where("digest = ?", text(ref.Digest))
	case ref.Version != "":
		find = find.Where("name = ? AND version = ?", text(ref.Name), text(ref.Version))
	default:
		find = find.Where("name = ?", text(ref.Name))
	}
	var rows []manifestRow
	if err := find.Order("created_at DESC").Limit(1).Find(&rows).Error; err != nil {
		return session.StoredManifest{}, fmt.Errorf("read manifest: %w", d.fail(ctx, err))
	}
	if len(rows) == 0 {
		return session.StoredManifest{}, fault.New(fault.NotFound, "no manifest %s is registered", describe(ref))
	}
	r := rows[0]
	source, err := d.codec.unpack(packed{Codec: r.Codec, Size: -1, Bytes: r.Source})
	if err != nil {
		return session.StoredManifest{}, fmt.Errorf("manifest %s@%s is damaged: %w", r.Name, r.Version, err)
	}
	return session.StoredManifest{Tenant: string(r.Tenant), Ref: r.ref(), Source: source, CreatedAt: toTime(r.CreatedAt)}, nil
}

func describe(ref session.ManifestRef) string {
	switch {
	case ref.Digest != "":
		return fmt.Sprintf("with digest %.80q", ref.Digest)
	case ref.Version != "":
		return fmt.Sprintf("%.80q in version %.80q", ref.Name, ref.Version)
	default:
		return fmt.Sprintf("%.80q", ref.Name)
	}
}

// ListManifests implements session.Store.
func (d *DB) ListManifests(ctx context.Context, tenant string, limit int, from string) (list []session.StoredManifest, next string, err error) {
	limit = pageSize(limit)
	find := d.read(ctx).Table("manifests").Select("tenant, name, version, digest, created_at").Where("tenant = ?", text(tenant))
	if from != "" {
		at, key, err := parseCursor(from)
		name, version, ok := strings.Cut(key, "\x00")
		if err != nil || !ok {
			return nil, "", errCursor
		}
		find = find.Where("(created_at, name, version) < (?, ?, ?)", at, text(name), text(version))
	}
	var rows []manifestRow
	if err := find.Order("created_at DESC, name DESC, version DESC").Limit(limit + 1).Find(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("list manifests: %w", d.fail(ctx, err))
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = cursor(last.CreatedAt, string(last.Name+"\x00"+last.Version))
	}
	list = make([]session.StoredManifest, len(rows))
	for i, r := range rows {
		list[i] = session.StoredManifest{Tenant: string(r.Tenant), Ref: r.ref(), CreatedAt: toTime(r.CreatedAt)}
	}
	return list, next, nil
}
