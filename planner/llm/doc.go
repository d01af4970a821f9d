// Package llm turns the providers' wire protocols into [planner.Model]s:
// [NewOpenAI] speaks chat completions, which most hosted and local servers do,
// and [NewAnthropic] speaks Anthropic's Messages.
//
// A model that comes back from here has been asked with patience and read with
// suspicion: transport faults are retried within bounds, a stream that was cut
// is an error, sizes and times are limited, token counts are held against what
// was really sent, and the API key is in no error.
//
// The package does not know what the text means; package planner reads it.
package llm
