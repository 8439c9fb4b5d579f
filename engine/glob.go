package engine

// maxGlobNesting bounds the stars of a pattern that Redis follows: beyond it,
// nothing matches. It protects Redis's stack; here it only keeps the answer the
// same.
const maxGlobNesting = 1000

// stringmatchlen reports whether s as a whole matches a glob-style pattern:
//
//   - any bytes
//     ?        one byte
//     [abc]    one of these bytes; [^abc] none of them; [a-c] a range
//     \x       the byte x
//
// With nocase, letters of ASCII match in both cases. The corners are Redis's: a
// class that is not closed ends with the pattern, a range given backwards is
// turned round, bytes compare as C's signed char on x86-64, and an escape within a
// class never folds cases.
//
// Only the last star is tried at the next byte when the rest does not match:
// what follows an earlier star has been found as far to the left as it can be,
// so that moving it cannot help. The work is at most len(pattern)*len(s) steps,
// where a recursion that tries every star again is exponential in their number.
//
//go:noinline
func stringmatchlen(pattern, s []byte, nocase bool) bool {
	p, i := 0, 0         // positions in pattern and s
	star, tried := -1, 0 // behind the last star, and where in s that is tried
	nesting := 0
	for i < len(s) {
		fits := false
		switch {
		case p == len(pattern):
		case pattern[p] == '*':
			for p+1 < len(pattern) && pattern[p+1] == '*' {
				p++
			}
			p++
			if p == len(pattern) {
				return true
			}
			if nesting++; nesting > maxGlobNesting {
				return false
			}
			star, tried = p, i
			continue
		case pattern[p] == '?':
			p++
			fits = true
		case pattern[p] == '[':
			p, fits = matchClass(pattern, p+1, s[i], nocase)
		default:
			if pattern[p] == '\\' && p+1 < len(pattern) {
				p++
			}
			fits = pattern[p] == s[i] || nocase && lower(pattern[p]) == lower(s[i])
			p++
		}
		i++
		if !fits {
			if star < 0 {
				return false
			}
			tried++
			p, i = star, tried
		}
	}
	// Stars at the end match nothing, but only behind a byte that was matched:
	// "**" does not match "".
	for len(s) > 0 && p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchClass matches c against the class whose text begins at pattern[p], behind
// the bracket, and returns where the pattern goes on.
func matchClass(pattern []byte, p int, c byte, nocase bool) (int, bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	match := false
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			match = match || pattern[p] == c
		case p+2 < len(pattern) && pattern[p+1] == '-':
			low, high := int8(pattern[p]), int8(pattern[p+2])
			if low > high {
				low, high = high, low
			}
			b := int8(c)
			if nocase {
				low, high, b = int8(lower(byte(low))), int8(lower(byte(high))), int8(lower(c))
			}
			match = match || low <= b && b <= high
			p += 2
		default:
			match = match || pattern[p] == c || nocase && lower(pattern[p]) == lower(c)
		}
	}
	return min(p+1, len(pattern)), match != not
}

// lower maps the capital letters of ASCII, as C's tolower does in its own locale.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
