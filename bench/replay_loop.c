/* The plain C loop that bench/replay.py measures Meyrin's kernels against.
 *
 * One pool of identical processors, one thread, no library. At each instant: all completions,
 * then all arrivals in the order of the file, then one scheduling pass. It is what a careful
 * person writes first: a binary heap of completions, an array as waiting queue, the running set
 * as an array sorted by predicted end, the profile of conservative backfill as a sorted array.
 *
 *   fcfs          the head of the queue or nobody
 *   easy          Lifka 1995: one reservation, for the head; others may not delay it
 *   conservative  Mu'alem and Feitelson 2001: a reservation for everyone; at each instant with a
 *                 completion every waiting job, in queue order, gives its reservation up and takes
 *                 the earliest one
 *
 * replay_loop POLICY JOBS STARTS REPEATS
 *   JOBS    int64: n, machine, submit[n], processors[n], duration[n], limit[n]
 *   STARTS  is written: int64 start[n]
 * Prints one JSON object: CPU seconds of each repeat, bytes that the replay added to the resident
 * set, the longest queue, the sum of all waits.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int64_t i64;

typedef struct { i64 end, id; } Completion;
typedef struct { i64 end, processors; } Running;
typedef struct { i64 time, free; } Edge;

static i64 jobs, machine, *submit, *processors, *duration, *limit; /* the log */
static i64 *start, *waiting, head, tail, longest;                  /* the answer, the queue */
static i64 now, idle;
static Completion *heap; static i64 heaped;
static Running *running; static i64 active;
static Edge *edges; static i64 edged;                              /* conservative only */
static i64 *reserved;

static void *array(i64 count, size_t size) {
    void *memory = malloc((size_t)(count ? count : 1) * size);
    if (!memory) { fputs("out of memory\n", stderr); exit(1); }
    return memory;
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- completions ------------------------------------------------------------------------- */

static void heap_push(i64 end, i64 id) {
    i64 at = heaped++;
    for (; at > 0 && heap[(at - 1) / 2].end > end; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = (Completion){end, id};
}

static i64 heap_pop(void) {
    i64 id = heap[0].id, at = 0;
    Completion last = heap[--heaped];
    for (i64 child = 1; child < heaped; child = 2 * at + 1) {
        if (child + 1 < heaped && heap[child + 1].end < heap[child].end) child++;
        if (heap[child].end >= last.end) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return id;
}

static void begin(i64 id) {
    start[id] = now;
    idle -= processors[id];
    heap_push(now + duration[id], id);
}

/* -- FCFS and EASY ------------------------------------------------------------------------- */

static i64 running_after(i64 end) { /* how many end at `end` or before */
    i64 low = 0, high = active;
    while (low < high) {
        i64 middle = (low + high) / 2;
        if (running[middle].end <= end) low = middle + 1; else high = middle;
    }
    return low;
}

static void running_add(i64 id) {
    i64 end = now + limit[id], at = running_after(end);
    memmove(running + at + 1, running + at, (size_t)(active - at) * sizeof *running);
    running[at] = (Running){end, processors[id]};
    active++;
}

static void running_remove(i64 id) {
    i64 at = running_after(start[id] + limit[id]) - 1;
    while (running[at].processors != processors[id]) at--; /* same end: any of the same size */
    memmove(running + at, running + at + 1, (size_t)(active - at - 1) * sizeof *running);
    active--;
}

static void pass_fcfs(void) {
    while (head < tail && processors[waiting[head]] <= idle) begin(waiting[head++]);
}

static void pass_easy(void) {
    while (head < tail && processors[waiting[head]] <= idle) {
        running_add(waiting[head]);
        begin(waiting[head++]);
    }
    if (tail - head < 2 || idle == 0) return;
    i64 spare = idle - processors[waiting[head]], shadow = 0, kept = 0;
    for (i64 at = 0; at < active && (spare < 0 || running[at].end == shadow); at++) {
        spare += running[at].processors;
        shadow = running[at].end;
    }
    for (i64 at = head + 1; at < tail; at++) {
        i64 id = waiting[at], wants = processors[id];
        int before = now + limit[id] <= shadow;
        if (wants <= idle && (before || wants <= spare)) {
            if (!before) spare -= wants;
            if (!kept) kept = at;
            running_add(id);
            begin(id);
        } else if (kept) {
            waiting[kept++] = id;
        }
        if (idle == 0) { /* nobody else: close the gap and leave */
            if (!kept) return;
            memmove(waiting + kept, waiting + at + 1, (size_t)(tail - at - 1) * sizeof *waiting);
            kept += tail - at - 1;
            break;
        }
    }
    if (kept) tail = kept;
}

/* -- conservative ---------------------------------------------------------------------------- */

static i64 edge_at(i64 time) { /* the first edge at `time` or later */
    i64 low = 0, high = edged;
    while (low < high) {
        i64 middle = (low + high) / 2;
        if (edges[middle].time < time) low = middle + 1; else high = middle;
    }
    return low;
}

static i64 edge(i64 time) { /* the edge at `time`, made when there is none */
    i64 at = edge_at(time);
    if (at < edged && edges[at].time == time) return at;
    memmove(edges + at + 1, edges + at, (size_t)(edged - at) * sizeof *edges);
    edges[at] = (Edge){time, edges[at - 1].free};
    edged++;
    return at;
}

static void merge(i64 time) {
    i64 at = edge_at(time);
    if (at == 0 || at == edged || edges[at].time != time) return;
    if (edges[at].free != edges[at - 1].free) return;
    memmove(edges + at, edges + at + 1, (size_t)(edged - at - 1) * sizeof *edges);
    edged--;
}

static void room(i64 from, i64 to, i64 more) {
    if (from >= to) return;
    i64 first = edge(from), last = edge(to);
    for (i64 at = first; at < last; at++) edges[at].free += more;
}

static i64 earliest(i64 wants, i64 length) {
    i64 first = 0;
    for (i64 at = 0; at < edged; at++) {
        if (edges[at].free < wants) first = at + 1;
        else if (at + 1 == edged || edges[at + 1].time - edges[first].time >= length) break;
    }
    return edges[first].time;
}

static void move(i64 id) { /* give the reservation up, take the earliest */
    i64 was = reserved[id], length = limit[id], wants = processors[id];
    room(was, was + length, wants);
    i64 time = earliest(wants, length);
    room(time, time + length, -wants);
    reserved[id] = time;
    merge(was);
    merge(was + length);
    merge(time);
    merge(time + length);
}

static i64 pass_conservative(i64 known, int ended, i64 soonest) { /* the soonest reservation left */
    i64 gone = edge_at(now + 1) - 1; /* the profile begins now */
    memmove(edges, edges + gone, (size_t)(edged - gone) * sizeof *edges);
    edged -= gone;
    edges[0].time = now;
    if (ended) for (i64 at = head; at < known; at++) move(waiting[at]);
    for (i64 at = known; at < tail; at++) {
        i64 id = waiting[at];
        reserved[id] = earliest(processors[id], limit[id]);
        room(reserved[id], reserved[id] + limit[id], -processors[id]);
        merge(reserved[id]);
        merge(reserved[id] + limit[id]);
        if (reserved[id] < soonest) soonest = reserved[id];
    }
    if (!ended && soonest > now) return soonest;
    i64 kept = head;
    soonest = INT64_MAX;
    for (i64 at = head; at < tail; at++) {
        i64 id = waiting[at];
        if (reserved[id] == now) { begin(id); continue; }
        if (reserved[id] < soonest) soonest = reserved[id];
        waiting[kept++] = id;
    }
    tail = kept;
    return soonest;
}

/* -- the loop ------------------------------------------------------------------------------------ */

static void replay(char policy) {
    i64 arriving = 0, soonest = INT64_MAX;
    heap = array(machine, sizeof *heap);
    waiting = array(jobs, sizeof *waiting);
    running = policy == 'e' ? array(machine + 1, sizeof *running) : NULL;
    reserved = policy == 'c' ? array(jobs, sizeof *reserved) : NULL;
    edges = policy == 'c' ? array(2 * (jobs + machine) + 8, sizeof *edges) : NULL;
    head = tail = longest = heaped = active = 0;
    idle = machine;
    if (policy == 'c') { edges[0] = (Edge){jobs ? submit[0] : 0, machine}; edged = 1; }
    while (arriving < jobs || heaped || head < tail) {
        now = soonest;
        if (heaped && heap[0].end < now) now = heap[0].end;
        if (arriving < jobs && submit[arriving] < now) now = submit[arriving];
        int ended = 0;
        while (heaped && heap[0].end == now) {
            i64 id = heap_pop();
            idle += processors[id];
            ended = 1;
            if (policy == 'e') running_remove(id);
            if (policy == 'c' && duration[id] < limit[id]) {
                room(now, start[id] + limit[id], processors[id]);
                merge(start[id] + limit[id]);
            }
        }
        i64 known = tail;
        while (arriving < jobs && submit[arriving] == now) waiting[tail++] = arriving++;
        if (tail - head > longest) longest = tail - head;
        if (policy == 'f') pass_fcfs();
        else if (policy == 'e') pass_easy();
        else soonest = pass_conservative(known, ended, soonest);
    }
    free(heap); free(waiting); free(running); free(reserved); free(edges);
}

/* -- files and memory ------------------------------------------------------------------------------ */

static i64 status_kb(const char *name) {
    char line[256];
    i64 kb = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name))) kb = atoll(line + strlen(name));
    if (file) fclose(file);
    return kb;
}

static void forget_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) { fputs("5", file); fclose(file); }
}

static void load(const char *path) {
    i64 sizes[2];
    FILE *file = fopen(path, "rb");
    if (!file || fread(sizes, sizeof *sizes, 2, file) != 2) { perror(path); exit(1); }
    jobs = sizes[0];
    machine = sizes[1];
    i64 **columns[] = {&submit, &processors, &duration, &limit};
    for (int column = 0; column < 4; column++) {
        *columns[column] = array(jobs, sizeof(i64));
        if ((i64)fread(*columns[column], sizeof(i64), (size_t)jobs, file) != jobs) exit(1);
    }
    fclose(file);
}

int main(int count, char **words) {
    if (count != 5 || !strchr("fec", words[1][0])) { fputs("see the first comment\n", stderr); return 2; }
    load(words[2]);
    int repeats = atoi(words[4]);
    forget_peak();
    i64 before_kb = status_kb("VmRSS:");
    start = array(jobs, sizeof *start);
    printf("{\"seconds\": [");
    for (int turn = 0; turn < repeats; turn++) {
        double begun = cpu_s();
        replay(words[1][0]);
        printf("%s%.6f", turn ? ", " : "", cpu_s() - begun);
    }
    i64 peak_kb = status_kb("VmHWM:"), wait = 0;
    for (i64 id = 0; id < jobs; id++) wait += start[id] - submit[id];
    printf("], \"bytes\": %lld, \"peak_kb\": %lld, \"longest_queue\": %lld, \"wait_s\": %lld}\n",
           (long long)(peak_kb - before_kb) * 1024, (long long)peak_kb, (long long)longest,
           (long long)wait);
    FILE *file = fopen(words[3], "wb");
    if (!file || (i64)fwrite(start, sizeof *start, (size_t)jobs, file) != jobs || fclose(file)) {
        perror(words[3]);
        return 1;
    }
    return 0;
}
