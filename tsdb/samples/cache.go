package samples

// known is what a writer remembers of a series.
type known struct {
	id    int64
	last  int64 // milliseconds since 1970: no sample is later; what is later is certainly new
	asked int64 // seconds since 1970, of when the database last told that it has the series
	first int32 // the days of its samples, as the database has them
	until int32
}

// cache remembers series by their keys in bounded memory. It has two generations: when the young one is full, the old one is
// forgotten and the young one is old. What is asked for becomes young, so what is in use stays. 70 bytes a series.
type cache struct {
	limit      int // of one generation
	young, old generation
}

// generation keeps entries beside the map, so that there is nothing in it for the garbage collector to follow.
type generation struct {
	index   map[key]int32
	entries []known
}

func newCache(limit int) cache {
	return cache{limit: max(limit, 1), young: generation{index: map[key]int32{}}}
}

// get returns the series' entry, which may be changed until the next call of get or put; nil: not known.
func (c *cache) get(k key) *known {
	if i, ok := c.young.index[k]; ok {
		return &c.young.entries[i]
	}
	if i, ok := c.old.index[k]; ok {
		return c.put(k, c.old.entries[i])
	}
	return nil
}

// put remembers the series and returns its entry.
func (c *cache) put(k key, e known) *known {
	if i, ok := c.young.index[k]; ok {
		c.young.entries[i] = e
		return &c.young.entries[i]
	}
	if len(c.young.entries) >= c.limit {
		c.old, c.young = c.young, generation{index: make(map[key]int32, len(c.young.index)/2)}
	}
	c.young.index[k] = int32(len(c.young.entries))
	c.young.entries = append(c.young.entries, e)
	return &c.young.entries[len(c.young.entries)-1]
}
