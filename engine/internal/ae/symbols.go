package ae

import _ "unsafe" // for go:linkname

// The plain ELF names of the loop's functions. The directives have to stand in
// the package that defines the functions; those of the engine are in its own
// symbols.go.

//go:linkname aeMain aeMain
//go:linkname aeProcessEvents aeProcessEvents
