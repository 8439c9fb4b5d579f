package trace

import (
	"slices"
	"sync"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// A codec is gRPC's own for protobuf, except that it does not clear a buffer
// before it encodes a message into it: for a batch that would be 1 MiB, at a
// third of the price of making its spans.
type codec struct {
	encoding.CodecV2
	buffers bufferPool
}

func newCodec() *codec { return &codec{CodecV2: encoding.GetCodecV2("proto")} }

func (c *codec) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.(proto.Message)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	buffer := c.buffers.Get(0)
	var err error
	if *buffer, err = (proto.MarshalOptions{}).MarshalAppend(*buffer, message); err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(buffer, &c.buffers)}, nil
}

// A bufferPool is where gRPC puts buffers that it has sent.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get(length int) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	*b = slices.Grow((*b)[:0], length)[:length]
	return b
}

func (p *bufferPool) Put(b *[]byte) { p.pool.Put(b) }
