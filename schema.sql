CREATE TABLE buffers (
    page INTEGER NOT NULL,
    ring INTEGER NOT NULL CHECK (ring BETWEEN 1 AND 8),
    dirty INTEGER DEFAULT '0' NOT NULL,
    locked INTEGER,
    busy INTEGER,
    late INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (page),
    FOREIGN KEY(page) REFERENCES pages (id)
)
 STRICT;

CREATE TABLE cpusets (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    cpus TEXT NOT NULL,
    mems TEXT NOT NULL,
    cpu_exclusive INTEGER DEFAULT '0' NOT NULL,
    mem_exclusive INTEGER DEFAULT '0' NOT NULL,
    memory_migrate INTEGER DEFAULT '0' NOT NULL,
    kept TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id)
)
 STRICT;

CREATE TABLE distances (
    source INTEGER NOT NULL,
    dest INTEGER NOT NULL,
    distance INTEGER NOT NULL CHECK (distance > 0),
    PRIMARY KEY (source, dest),
    FOREIGN KEY(source) REFERENCES nodes (id),
    FOREIGN KEY(dest) REFERENCES nodes (id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE facts (
    id INTEGER NOT NULL,
    format TEXT NOT NULL,
    page_size INTEGER NOT NULL,
    profile TEXT NOT NULL,
    possible TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id),
    CHECK (id = 1),
    CHECK (page_size >= 512 AND page_size & (page_size - 1) = 0),
    CHECK (profile IN ('v9', 'v9-posted', 'modern'))
)
 STRICT;

CREATE TABLE holds (
    id INTEGER NOT NULL,
    page INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    kind TEXT NOT NULL,
    passes INTEGER NOT NULL,
    count INTEGER DEFAULT '1' NOT NULL,
    PRIMARY KEY (id),
    CHECK (kind IN ('lock', 'pin', 'writeback', 'park')),
    CHECK (count >= 1),
    FOREIGN KEY(page) REFERENCES pages (id),
    FOREIGN KEY(pid) REFERENCES tasks (pid)
)
 STRICT;

CREATE TABLE journal (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    argv TEXT NOT NULL,
    profile TEXT NOT NULL,
    return INTEGER,
    errno TEXT,
    summary TEXT NOT NULL,
    time INTEGER NOT NULL
)
 STRICT;

CREATE TABLE labels (
    mm INTEGER NOT NULL,
    name TEXT NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    PRIMARY KEY (mm, name),
    CHECK (start < "end"),
    FOREIGN KEY(mm) REFERENCES mms (id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE mappings (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    fs TEXT,
    journal TEXT,
    method TEXT NOT NULL,
    ino INTEGER,
    size INTEGER,
    ring INTEGER DEFAULT '0' NOT NULL,
    CHECK (kind IN ('anon', 'zero', 'file', 'shm', 'none')),
    CHECK (method IN ('page', 'buffer', 'fail', 'none')),
    CHECK (ring BETWEEN 0 AND 8)
)
 STRICT;

CREATE TABLE mms (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    anon INTEGER NOT NULL,
    FOREIGN KEY(anon) REFERENCES mappings (id)
)
 STRICT;

CREATE TABLE nodes (
    id INTEGER NOT NULL,
    online INTEGER DEFAULT '1' NOT NULL,
    cpus TEXT NOT NULL,
    zonelist TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    other INTEGER DEFAULT '0' NOT NULL,
    used INTEGER DEFAULT '0' NOT NULL,
    numa_hit INTEGER DEFAULT '0' NOT NULL,
    numa_miss INTEGER DEFAULT '0' NOT NULL,
    numa_foreign INTEGER DEFAULT '0' NOT NULL,
    interleave_hit INTEGER DEFAULT '0' NOT NULL,
    local_node INTEGER DEFAULT '0' NOT NULL,
    other_node INTEGER DEFAULT '0' NOT NULL,
    weight INTEGER DEFAULT '1' NOT NULL CHECK (weight BETWEEN 1 AND 255),
    PRIMARY KEY (id),
    CHECK (other >= 0 AND used >= 0 AND other + used <= capacity)
)
 STRICT;

CREATE TABLE pages (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    mapping INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL CHECK (count >= 1),
    step INTEGER NOT NULL CHECK (step >= 1),
    node INTEGER,
    area INTEGER,
    flags INTEGER DEFAULT '0' NOT NULL,
    lock INTEGER,
    pin INTEGER,
    pins INTEGER DEFAULT '0' NOT NULL,
    writeback INTEGER,
    parked INTEGER DEFAULT '0' NOT NULL,
    outside INTEGER DEFAULT '0' NOT NULL,
    origin INTEGER NOT NULL,
    origin_first INTEGER NOT NULL,
    next INTEGER GENERATED ALWAYS AS (first + count * step) VIRTUAL,
    CHECK (count > 1 OR step = 1),
    CHECK ((pin IS NULL) = (pins = 0)),
    FOREIGN KEY(mapping) REFERENCES mappings (id),
    FOREIGN KEY(node) REFERENCES nodes (id),
    FOREIGN KEY(area) REFERENCES swap_areas (id)
)
 STRICT;

CREATE TABLE policies (
    id INTEGER NOT NULL,
    mode TEXT NOT NULL,
    nodes TEXT NOT NULL,
    flags TEXT NOT NULL,
    mems TEXT NOT NULL,
    PRIMARY KEY (id)
)
 STRICT;

CREATE TABLE ptes (
    mm INTEGER NOT NULL,
    addr INTEGER NOT NULL,
    page INTEGER NOT NULL,
    present INTEGER DEFAULT '1' NOT NULL,
    young INTEGER DEFAULT '0' NOT NULL,
    dirty INTEGER DEFAULT '0' NOT NULL,
    writable INTEGER DEFAULT '0' NOT NULL,
    reach INTEGER NOT NULL,
    PRIMARY KEY (mm, addr),
    CHECK (present OR NOT (young OR dirty OR writable)),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(page) REFERENCES pages (id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE resident (
    mm INTEGER NOT NULL,
    node INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    PRIMARY KEY (mm, node),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(node) REFERENCES nodes (id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE shared_policies (
    mapping INTEGER NOT NULL,
    first INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    policy INTEGER NOT NULL,
    mm INTEGER,
    delta INTEGER,
    PRIMARY KEY (mapping, first),
    CHECK (first < "end"),
    FOREIGN KEY(mapping) REFERENCES mappings (id),
    FOREIGN KEY(policy) REFERENCES policies (id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE snapshots (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    journal INTEGER NOT NULL,
    PRIMARY KEY (id)
)
 STRICT;

CREATE TABLE swap_areas (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    slots INTEGER NOT NULL,
    used INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    CHECK (used >= 0 AND used <= slots)
)
 STRICT;

CREATE TABLE tasks (
    pid INTEGER NOT NULL,
    name TEXT NOT NULL,
    uid INTEGER NOT NULL,
    cpu INTEGER NOT NULL,
    cpuset INTEGER NOT NULL,
    mm INTEGER,
    caps INTEGER NOT NULL,
    dumpable INTEGER DEFAULT '1' NOT NULL,
    policy INTEGER,
    il_next INTEGER,
    il_weight INTEGER DEFAULT '0' NOT NULL,
    tgid INTEGER NOT NULL,
    affinity TEXT DEFAULT '' NOT NULL,
    memlock INTEGER,
    PRIMARY KEY (pid),
    FOREIGN KEY(cpuset) REFERENCES cpusets (id),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(policy) REFERENCES policies (id)
)
 STRICT;

CREATE TABLE vmas (
    mm INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    mapping INTEGER NOT NULL,
    delta INTEGER DEFAULT '0' NOT NULL,
    flags INTEGER NOT NULL,
    policy INTEGER,
    "order" INTEGER DEFAULT '0' NOT NULL,
    anon_vma INTEGER DEFAULT '0' NOT NULL,
    forked INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (mm, start),
    CHECK (start < "end" AND start >= 0),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(mapping) REFERENCES mappings (id),
    FOREIGN KEY(policy) REFERENCES policies (id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE words (
    mm INTEGER NOT NULL,
    start INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (mm, start),
    FOREIGN KEY(mm) REFERENCES mms (id)
)
 WITHOUT ROWID,
 STRICT;

CREATE UNIQUE INDEX cpusets_name ON cpusets (name);

CREATE INDEX holds_page ON holds (page, kind, pid);

CREATE INDEX holds_pid ON holds (pid);

CREATE INDEX mappings_name ON mappings (kind, name);

CREATE INDEX mms_anon ON mms (anon);

CREATE INDEX pages_first ON pages (mapping, first);

CREATE INDEX pages_isolated ON pages (parked) WHERE parked > 1;

CREATE INDEX pages_next ON pages (mapping, next);

CREATE INDEX pages_reach ON pages (mapping, length(printf('%x', (count - 1) * step)), first) WHERE count > 1;

CREATE UNIQUE INDEX policies_value ON policies (mode, nodes, flags, mems);

CREATE INDEX ptes_page ON ptes (page);

CREATE INDEX ptes_reach ON ptes (mm, reach, addr) WHERE reach > 0;

CREATE INDEX resident_none ON resident (mm) WHERE pages = 0;

CREATE UNIQUE INDEX snapshots_name ON snapshots (name);

CREATE UNIQUE INDEX swap_areas_name ON swap_areas (name);

CREATE INDEX tasks_mm ON tasks (mm);

CREATE INDEX vmas_mapping ON vmas (mapping);

CREATE VIEW task_nodes AS
SELECT t.pid AS pid, t.name AS name, p.node AS node, sum(p.count) AS pages
FROM tasks t CROSS JOIN ptes e ON e.mm = t.mm CROSS JOIN pages p ON p.id = e.page
WHERE e.present AND p.node IS NOT NULL
GROUP BY t.pid, p.node;

CREATE VIEW task_vmas AS
SELECT t.pid AS pid, t.name AS name, printf('%x', v.start * f.page_size) AS start,
 printf('%x', v."end" * f.page_size) AS "end", v."end" - v.start AS pages, m.kind AS kind,
 m.name AS mapping, coalesce(o.mode, 'default') AS mode, coalesce(o.nodes, '') AS nodes
FROM tasks t CROSS JOIN facts f CROSS JOIN vmas v ON v.mm = t.mm CROSS JOIN mappings m ON m.id = v.mapping
LEFT JOIN policies o ON o.id = v.policy;
