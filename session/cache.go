package session

import "sync"

// A cache keeps recently used immutable values by their hash. When it is full
// it is emptied: what is still needed comes back with the next use.
type cache[V any] struct {
	mu    sync.Mutex // guards items and size
	items map[string]V
	size  int
	max   int // in the unit of weigh
	weigh func(V) int
}

func newCache[V any](max int, weigh func(V) int) *cache[V] {
	return &cache[V]{items: map[string]V{}, max: max, weigh: weigh}
}

func (c *cache[V]) get(key string) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.items[key]
	return v, ok
}

func (c *cache[V]) put(key string, v V) {
	w := c.weigh(v)
	if w > c.max/4 { // one value must not push out everything else
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[key]; ok {
		return
	}
	if c.size+w > c.max {
		clear(c.items)
		c.size = 0
	}
	c.items[key] = v
	c.size += w
}
