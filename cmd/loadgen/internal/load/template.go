package load

import (
	"bytes"
	"fmt"
	"math/bits"
	"strconv"
)

// Placeholders that may stand anywhere in a command's arguments.
const (
	// RandInt becomes twelve decimal digits, a number below Options.Keyspace,
	// drawn anew for each place and each request. Name, width and range are
	// redis-benchmark's. With Keyspace negative it stays as it is written.
	RandInt = "__rand_int__"
	// SeqInt becomes the request's own number: Options.SeqStart for the first
	// request, one more for each that follows, in as many digits as SeqStart has.
	SeqInt = "__seq_int__"
)

// randDigits is the width of an expanded RandInt: redis-benchmark's.
const randDigits = 12

// A Command is one request: the arguments, or the bytes as they go to the
// server when Inline is set.
type Command struct {
	Args   []string
	Inline string // an inline command without its line end, instead of Args
}

// field is one place in the encoded command that changes with each request.
type field struct {
	at     int // offset of the first digit that changes
	digits int // how many change
	random bool
}

// batch is the encoded command, repeated once for each place in the pipeline,
// with the places that change. One batch serves all connections of a thread:
// its bytes are in the socket, or copied, before the next request is patched.
type batch struct {
	bytes    []byte
	command  int // bytes of one command
	fields   []field
	keyspace uint64
	seqStart uint64
	random   uint64 // state of the generator of random numbers
}

func newBatch(cmd Command, pipeline int, keyspace int64, seqStart string, seed uint64) (*batch, error) {
	b := &batch{random: seed}
	var encoded []byte
	if cmd.Inline != "" {
		encoded = append(encoded, cmd.Inline+"\r\n"...)
	} else {
		if len(cmd.Args) == 0 {
			return nil, fmt.Errorf("the command is empty")
		}
		encoded = fmt.Appendf(encoded, "*%d\r\n", len(cmd.Args))
		for _, arg := range cmd.Args {
			expanded, fields := expand(arg, keyspace, seqStart)
			encoded = fmt.Appendf(encoded, "$%d\r\n", len(expanded))
			for _, f := range fields {
				f.at += len(encoded)
				b.fields = append(b.fields, f)
			}
			encoded = append(encoded, expanded...)
			encoded = append(encoded, '\r', '\n')
		}
	}
	// A keyspace of 0 leaves only key 0, as redis-benchmark has it.
	b.keyspace = uint64(max(keyspace, 1))
	for _, f := range b.fields {
		if f.random {
			continue
		}
		start, err := strconv.ParseUint(seqStart, 10, 63)
		if err != nil {
			return nil, fmt.Errorf("the number that %s starts from is %q, not a decimal number", SeqInt, seqStart)
		}
		b.seqStart = start
		break
	}
	b.command = len(encoded)
	b.bytes = bytes.Repeat(encoded, pipeline)
	return b, nil
}

// expand replaces the placeholders in arg by zeros and says where they are.
func expand(arg string, keyspace int64, seqStart string) ([]byte, []field) {
	var out []byte
	var fields []field
	for i := 0; i < len(arg); {
		switch rest := arg[i:]; {
		case keyspace >= 0 && bytes.HasPrefix([]byte(rest), []byte(RandInt)):
			// Only the digits that a number below keyspace can reach change.
			n := len(strconv.FormatInt(max(keyspace-1, 0), 10))
			n = min(n, randDigits)
			fields = append(fields, field{at: len(out) + randDigits - n, digits: n, random: true})
			out = append(out, "000000000000"...)
			i += len(RandInt)
		case bytes.HasPrefix([]byte(rest), []byte(SeqInt)):
			fields = append(fields, field{at: len(out), digits: len(seqStart)})
			out = append(out, bytes.Repeat([]byte{'0'}, len(seqStart))...)
			i += len(SeqInt)
		default:
			out = append(out, arg[i])
			i++
		}
	}
	return out, fields
}

// fill patches the first n commands for the requests first, first+1, … and
// returns their bytes, valid until the next fill.
func (b *batch) fill(first int64, n int) []byte {
	out := b.bytes[:n*b.command]
	if len(b.fields) == 0 {
		return out
	}
	for i := range n {
		cmd := out[i*b.command : (i+1)*b.command]
		for _, f := range b.fields {
			value := b.seqStart + uint64(first) + uint64(i)
			if f.random {
				value, _ = bits.Mul64(b.next(), b.keyspace)
			}
			putDigits(cmd[f.at:f.at+f.digits], value)
		}
	}
	return out
}

// next is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
// generators, 2014): one multiplication chain, one word of state, no call.
func (b *batch) next() uint64 {
	b.random += 0x9e3779b97f4a7c15
	z := b.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// putDigits writes the low decimal digits of v, as many as dst has.
func putDigits(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		q := v / 10
		dst[i] = byte('0' + v - q*10)
		v = q
	}
}
