// Package wasmedit reads WebAssembly modules and rewrites them so that a host can bound and snapshot what they do.
//
// [Parse] accepts core modules of the 2.0 feature set (with SIMD, without threads, tail calls, exceptions, garbage
// collection, memory64 or several memories) and gives a [Module]. Its methods edit the module; [Module.Encode] writes it
// back. Custom sections, debug information and names included, are dropped.
//
// [Module.Meter] makes execution countable: function entries, loop iterations and bulk operations consume fuel, nested
// calls consume a stack budget, and an imported function is called when either runs out. [Module.DetachData] and
// [Module.ExportMutableGlobals] make an instance's state reachable, so that it can be saved after initialisation and
// every later instance started from there.
//
// The package checks structure, not types: a module that Parse accepts can still be refused by a validator. Editing a
// valid module gives a valid module. Input is never trusted; every count is checked against the bytes that are left.
package wasmedit
