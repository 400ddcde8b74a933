// Told: what the events of a stream have said so far. An event is a document, or it is a table of
// which changed rows are told; package page, feed.go, describes the form.

export class Told {
  events = new Map(); // name → {data} or a table
  clock = 0; // ms of the stream's own clock

  // take takes in an event and gives its name if it is a document, else null.
  take(name, text) {
    const data = JSON.parse(text);
    if (name === 'tick') {
      this.clock = data;
      return null;
    }
    if (!Array.isArray(data?.key)) {
      this.events.set(name, {data});
      return name;
    }
    let table = this.events.get(name);
    if (!table?.rows || data.all) this.events.set(name, table = {rows: [], places: new Map()});
    const {all, set = all, drop = [], ...head} = data;
    table.head = head;
    table.changed = true;
    const id = (row) => head.key.map((k) => row[k]).join('\0');
    if (drop.length > 0) {
      const gone = new Set(drop.map((key) => key.join('\0')));
      table.rows = table.rows.filter((row) => !gone.has(id(row)));
      table.places = new Map(table.rows.map((row, i) => [id(row), i]));
    }
    for (const row of set) {
      const key = id(row), place = table.places.get(key) ?? table.rows.length;
      table.places.set(key, place);
      table.rows[place] = row;
    }
    return null;
  }

  // value is what a page is given: the document, or the rows with the ages of now.
  value(name) {
    const {data, rows, head} = this.events.get(name);
    if (!rows) return data;
    if (head.age) for (const row of rows) row[head.age] = row.since_ms === null ? 0 : Math.max(0, this.clock - row.since_ms);
    return head.as ? {...head.in, [head.as]: rows} : rows;
  }

  // ripe gives the tables that a page is to be given at a tick: those that have changed and, once a
  // second, those with ages.
  ripe() {
    const names = [];
    for (const [name, table] of this.events) {
      if (!table.rows || !(table.changed || table.head.age && this.clock - table.given >= 950)) continue;
      table.changed = false;
      table.given = this.clock;
      names.push(name);
    }
    return names;
  }

  // all gives everything anew, as events.
  *all() {
    for (const [name, {data, rows, head}] of this.events) yield [name, JSON.stringify(rows ? {...head, all: rows} : data)];
    yield ['tick', JSON.stringify(this.clock)];
  }
}
