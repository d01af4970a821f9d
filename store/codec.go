package store

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

const (
	codecRaw  = 0
	codecZstd = 1

	// compressMin is the size up to which content is stored as it is:
	// decompressing costs more than the few bytes are worth.
	compressMin = 256
)

// packed is content as the database has it.
type packed struct {
	Codec int
	Size  int64 // of the content itself; -1 when not recorded
	Bytes []byte
}

// A codec compresses and decompresses. It is safe for use by many goroutines.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(blobBytesMax))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &codec{enc, dec}, nil
}

func (c *codec) close() {
	c.enc.Close()
	c.dec.Close()
}

// pack compresses data when that makes it smaller.
func (c *codec) pack(data []byte) (codec int, bytes []byte) {
	if len(data) <= compressMin {
		return codecRaw, data
	}
	if z := c.enc.EncodeAll(data, make([]byte, 0, len(data)/2)); len(z) < len(data) {
		return codecZstd, z
	}
	return codecRaw, data
}

func (c *codec) unpack(p packed) ([]byte, error) {
	data := p.Bytes
	switch p.Codec {
	case codecRaw:
	case codecZstd:
		var err error
		if data, err = c.dec.DecodeAll(data, make([]byte, 0, min(max(p.Size, 0), 1<<20))); err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
	default:
		return nil, fmt.Errorf("codec %d is not known to this version", p.Codec)
	}
	if p.Size >= 0 && int64(len(data)) != p.Size {
		return nil, fmt.Errorf("it has %d bytes, not %d", len(data), p.Size)
	}
	return data, nil
}
