// Package planner decides what a session does next: it holds the vocabulary of
// planning, the tolerant reading of model answers, and the ladder that turns
// an unreliable model into a planner.
//
// It does not know how actions are performed, nor who stores the result.
package planner
