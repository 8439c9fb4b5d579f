package dict

// HasRoom reports whether n more entries, whose keys and values come to so many
// bytes, surely find room, those that replace others included. It errs on the side
// of no, and cannot know whether the system will keep its word about memory.
//
// It is for who must add several entries or none: undoing would need memory again.
func (d *Dict) HasRoom(n int, bytes int64) bool {
	// Slots and large values are at most twice what they were asked for.
	bytes = 2*bytes + int64(n)*2*(wideHeader+expireSize+bucketSize)
	if n += d.Len(); n >= d.tables[0].growAt {
		// The tables of all sizes on the way come to less than twice the last.
		bytes += 2 * bucketSize * int64(bucketsFor(n))
	}
	return d.arena.HasRoom(bytes)
}
