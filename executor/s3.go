package executor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3Config says where an S3-compatible bucket is. All of it is the operator's;
// a manifest names the bucket and nothing else.
type S3Config struct {
	Endpoint  string // such as "https://s3.eu-central-1.amazonaws.com" or "http://127.0.0.1:9000"
	Region    string // default "us-east-1"
	Bucket    string
	Prefix    string // put before every key, such as "agents/"; may be empty
	AccessKey string
	SecretKey string
}

// An S3Bucket is a bucket of an S3-compatible store.
type S3Bucket struct {
	client minio.Core
	bucket string
	prefix string
}

var _ Bucket = (*S3Bucket)(nil)

// NewS3Bucket returns a bucket. It does not connect. The error names the field
// that is not usable.
func NewS3Bucket(cfg S3Config) (*S3Bucket, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return nil, fmt.Errorf("endpoint %q is not the origin of an S3 service, such as https://s3.eu-central-1.amazonaws.com", cfg.Endpoint)
	}
	if cfg.Bucket == "" {
		return nil, errors.New("bucket is missing")
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds:      credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""),
		Secure:     u.Scheme == "https",
		Region:     cfg.Region,
		MaxRetries: 1, // Retry decides about more
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout:    connectTimeout,
			ResponseHeaderTimeout:  time.Minute,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConnsPerHost:    idleConnsPerHostMax,
			MaxResponseHeaderBytes: responseHeaderMax,
			DisableCompression:     true,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", cfg.Endpoint, err)
	}
	return &S3Bucket{client: minio.Core{Client: client}, bucket: cfg.Bucket, prefix: cfg.Prefix}, nil
}

// Get implements Bucket.
func (b *S3Bucket) Get(ctx context.Context, key string, most int64) ([]byte, error) {
	body, info, _, err := b.client.GetObject(ctx, b.bucket, b.prefix+key, minio.GetObjectOptions{})
	if err != nil {
		return nil, s3Error(err)
	}
	defer body.Close()
	if info.Size > most {
		return nil, ErrFileTooLarge
	}
	data, err := io.ReadAll(io.LimitReader(body, most+1))
	if err == nil && int64(len(data)) > most {
		err = ErrFileTooLarge
	}
	if err != nil {
		return nil, s3Error(err)
	}
	return data, nil
}

// Put implements Bucket, in one request: a store replaces an object at once or
// not at all.
func (b *S3Bucket) Put(ctx context.Context, key string, data []byte) error {
	sum := sha256.Sum256(data)
	_, err := b.client.PutObject(ctx, b.bucket, b.prefix+key, bytes.NewReader(data), int64(len(data)), "", hex.EncodeToString(sum[:]), minio.PutObjectOptions{
		ContentType:          "application/octet-stream",
		DisableContentSha256: true, // of each chunk: the whole is signed by its sum
	})
	return s3Error(err)
}

// Stat implements Bucket.
func (b *S3Bucket) Stat(ctx context.Context, key string) (FileInfo, error) {
	info, err := b.client.StatObject(ctx, b.bucket, b.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return FileInfo{}, s3Error(err)
	}
	return FileInfo{Key: key, Bytes: info.Size, Modified: info.LastModified}, nil
}

// List implements Bucket.
func (b *S3Bucket) List(ctx context.Context, prefix string, most int) ([]FileInfo, error) {
	ctx, stop := context.WithCancel(ctx) // ends the listing when enough is known
	defer stop()
	var list []FileInfo
	for o := range b.client.Client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, s3Error(o.Err)
		}
		if len(list) == most {
			break
		}
		list = append(list, FileInfo{Key: strings.TrimPrefix(o.Key, b.prefix), Bytes: o.Size, Modified: o.LastModified})
	}
	sortFiles(list)
	return list, nil
}

// Delete implements Bucket.
func (b *S3Bucket) Delete(ctx context.Context, key string) error {
	err := s3Error(b.client.RemoveObject(ctx, b.bucket, b.prefix+key, minio.RemoveObjectOptions{}))
	if errors.Is(err, ErrFileNotFound) {
		return nil
	}
	return err
}

func s3Error(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[minio.ErrorResponse](err)
	switch {
	case !ok:
		return err
	case e.Code == minio.NoSuchKey || e.StatusCode == http.StatusNotFound && e.Code != minio.NoSuchBucket:
		return ErrFileNotFound
	case e.StatusCode == http.StatusForbidden:
		return ErrFileDenied
	}
	return err
}

func sortFiles(list []FileInfo) {
	slices.SortFunc(list, func(a, b FileInfo) int { return strings.Compare(a.Key, b.Key) })
}
