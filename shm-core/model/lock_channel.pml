/*
 * The lock-based channel: a Producer publishes N messages of one block each into two blocks, a
 * Consumer takes or borrows them, and a second one comes when the first one died. Both wait by
 * futex; the watcher of each process tells of deaths and arrivals by Notify(). Steps mirror
 * lock_producer.h, lock_consumer.h and channel_wait.h; "C4" to "C17" are their invariants.
 *
 * Each process has a store buffer (TSO). A store that a FENCE follows is one step: nobody can tell
 * when it entered the buffer, and its owner does nothing until the buffer is empty. Each switch
 * removes one rule: a broken twin. CRASH 1: the producer may die at any step, 2: the first
 * consumer, 3: the first consumer, and then the producer.
 */
#ifndef N
#define N 3
#endif
#ifndef CRASH
#define CRASH 0
#endif
#ifndef BLOCKS
#define BLOCKS 2
#endif
#define NEVER 255

#define PRODUCED 0    /* the producer's words */
#define FIN 1
#define WAKES_P 2
#define AT_P 3        /* its futex_at */
#define START 4       /* consumer_start, consumer_number */
#define NUMBER_P 5
#define DATA 6        /* two blocks, each with its descriptor */
#define CONSUMED 8   /* words of consumer 0, of consumer 1 */
#define WAKES_C 10
#define AT_C 12
#define NUMBER_C 14
#define ON_P 16       /* memory of a process: sleeping_on and flags of its waiter */
#define FLAGS_P 17
#define ON_C 18
#define FLAGS_C 20
byte mem[22];
chan bufP = [4] of { byte, byte };
chan bufC = [3] of { byte, byte };   /* the second consumer comes when it is empty */

proctype DrainP() { byte w, v; end: do :: d_step { bufP?w, v; mem[w] = v; w = 0; v = 0 } od }
proctype DrainC() { byte w, v; end: do :: d_step { bufC?w, v; mem[w] = v; w = 0; v = 0 } od }
#ifdef SC     /* each store is visible at once: for order and ends, where the fences are not asked */
#define PUT_P(word, value) mem[word] = value
#define PUT_C(word, value) mem[word] = value
#else
#define PUT_P(word, value) bufP!word, value
#define PUT_C(word, value) bufC!word, value
#endif
#define STORE_FENCE_P(word, value) d_step { empty(bufP) -> mem[word] = value }
#define STORE_FENCE_C(word, value) d_step { empty(bufC) -> mem[word] = value }

#define DEAD 1        /* flags */
#define INTERRUPTED 2

/* Who sleeps in the kernel, on which word (its index + 1; 0: awake). */
byte asleepP, asleepC;
bool dieP, dieC, goneP, goneC, eof;

/* What the checker knows. */
byte gProduced, gConsumed, gTold;    /* the last values stored, also by who is dead by now */
byte arrived, inbox, watched;        /* consumers, by number: 1, 2 */

/* FUTEX_WAIT: the kernel looks and queues in one step. FUTEX_WAKE finds who is queued. */
#define FUTEX_WAKE(word) \
  if :: asleepP == (word) + 1 -> asleepP = 0 :: else fi; \
  if :: asleepC == (word) + 1 -> asleepC = 0 :: else fi

/* ---- Notify(), by the watcher of a process ------------------------------------------------- */

inline notify(flags, on, flag, is_gone) {
  mem[flags] = mem[flags] | flag;
  do
  :: atomic {
       if :: mem[on] == 0 || is_gone -> break :: else fi;
       word = mem[on] - 1
     };
     d_step { FUTEX_WAKE(word); word = 0 };
#ifdef NOTIFY_ONCE
     break
#endif
  od
}

proctype WatchP() {
  byte word;
end:
  do
  :: watched == 1 && goneC ->
     watched = 0; notify(FLAGS_P, ON_P, DEAD, goneP)
  :: arrived != 0 -> d_step { inbox = arrived; arrived = 0 };
     notify(FLAGS_P, ON_P, INTERRUPTED, goneP)
  :: goneP -> break
  od
}

/* One for each consumer: a producer that was gone before is told by Attach(). */
proctype WatchC(byte k) {
  byte word;
end:
  if
  :: goneP -> notify(FLAGS_C + k, ON_C + k, DEAD, (goneC && k == 0))
  :: (goneC && k == 0) || eof
  fi
}

/* ---- producer ------------------------------------------------------------------------------ */

/* C5 */
#ifdef NO_CROSSING
#define CROSSES(old, at, now) 0
#else
#define CROSSES(old, at, now) (old <= at && at < now)
#endif

/* WakeAcross(). `number`: of the peer, 0: none */
inline wake_consumer(old, now) {
  if
  :: number == 0
  :: number != 0 ->
#ifndef NO_WAKE_FENCE
     empty(bufP);
#endif
     atomic {
       at = mem[AT_C + number - 1];
       at = CROSSES(old, at, now)
     };
     if :: at -> wake_always() :: else fi;
     at = 0
  fi
}

/* wakes.fetch_add, a locked instruction, then FUTEX_WAKE */
inline wake_always() {
  d_step { empty(bufP) -> mem[WAKES_P]++ };
#ifdef FUTEX_ON_COUNT
  d_step { FUTEX_WAKE(PRODUCED) }
#else
  d_step { FUTEX_WAKE(WAKES_P) }
#endif
}

#define FREE (BLOCKS - (n - consumed))

/* Look(): how far the consumer came */
inline look() {
  if
  :: number == 0 -> skip
  :: number != 0 ->
#ifndef NO_NUMBER
     if :: !begun -> begun = (mem[NUMBER_C + number - 1] == number) :: else fi;
#else
     begun = 1;
#endif
     if
     :: begun ->
        atomic {
          c = mem[CONSUMED + number - 1];
          assert(c >= consumed && c <= n);                              /* C8 */
          consumed = c; c = 0
        }
     :: else
     fi
  fi
}

/* What the endpoint does with what its watcher said. */
inline serve() {
  d_step { f = mem[FLAGS_P]; mem[FLAGS_P] = f & DEAD };   /* ClearInterrupt() */
  if
  :: f & DEAD ->
#ifndef NO_LAST_LOOK
     look();                                              /* DetachConsumer() */
#endif
     d_step { number = 0; begun = 0; mem[FLAGS_P] = mem[FLAGS_P] & INTERRUPTED }
  :: else
  fi;
  f = 0;
  if
  :: number == 0 && inbox != 0 ->                         /* AttachConsumer() */
     d_step { number = inbox; inbox = 0 };
#ifdef NUMBER_FIRST
     PUT_P(NUMBER_P, number); PUT_P(START, consumed); gTold = consumed;
#else
     atomic { PUT_P(START, consumed); gTold = consumed };
     PUT_P(NUMBER_P, number);
#endif
     wake_always();
     watched = number
  :: else
  fi
}

/* WaitFor() until `blocks` are free; `at` is PositionFor(blocks). */
inline wait_for_free(blocks) {
  do
  :: FREE >= blocks -> break
  :: mem[FLAGS_P] != 0 -> serve()
  :: else ->
#ifndef WAKES_LATE
     if :: number != 0 -> w = mem[WAKES_C + number - 1] :: else fi;
#endif
#ifdef NO_ARM_FENCE
     PUT_P(AT_P, n + blocks - BLOCKS - 1);
#else
     STORE_FENCE_P(AT_P, n + blocks - BLOCKS - 1);
#endif
#ifndef NO_RECHECK
     look();
#endif
#ifdef WAKES_LATE
     if :: number != 0 -> w = mem[WAKES_C + number - 1] :: else fi;
#endif
     if
     :: FREE >= blocks
     :: else ->                                           /* SleepOnFutex() */
#ifdef FLAGS_FIRST
        f = mem[FLAGS_P];
#endif
        STORE_FENCE_P(ON_P, (number == 0 -> FLAGS_P : WAKES_C + number - 1) + 1);
#ifndef FLAGS_FIRST
        f = mem[FLAGS_P];
#endif
        if
        :: f == 0 ->
           d_step {
             if
             :: number == 0 && mem[FLAGS_P] == 0 -> asleepP = FLAGS_P + 1
#ifdef FUTEX_ON_COUNT
             :: number != 0 && mem[CONSUMED + number - 1] == consumed ->
                asleepP = CONSUMED + number
#else
             :: number != 0 && mem[WAKES_C + number - 1] == w -> asleepP = WAKES_C + number
#endif
             :: else
             fi
           };
           asleepP == 0
        :: else
        fi;
        f = 0; PUT_P(ON_P, 0)
     fi;
     w = 0;
     PUT_P(AT_P, NEVER)                                    /* Disarm() */
  od
}

proctype Producer() {
  byte n, consumed, number, at, c, w, f;
  bool begun;
  {
    do
    :: n == N -> break
    :: n < N ->
       wait_for_free(1);
       atomic {
#ifndef PRODUCED_EARLY
         PUT_P(DATA + n % BLOCKS, n + 1);
#endif
         PUT_P(PRODUCED, n + 1); n++; gProduced = n;
#ifdef PRODUCED_EARLY
         PUT_P(DATA + (n - 1) % BLOCKS, n)
#endif
       };
       wake_consumer(n - 1, n)
    od;
    PUT_P(FIN, n + 1);
#ifndef NO_FIN_WAKE
    wake_consumer(n, n + 1);
#endif
    wait_for_free(BLOCKS)                                 /* WaitUntilDrained() */
  } unless { dieP };
  empty(bufP);
  d_step { asleepP = 0; n = 0; consumed = 0; at = 0; c = 0; w = 0; f = 0; number = 0; begun = 0 };
  if :: dieP || CRASH >= 2 -> goneP = 1 :: else fi  /* else an end must do without a hang-up */
}

/* ---- consumer ------------------------------------------------------------------------------ */

/* WakeAcross() */
inline wake_producer(old, now) {
#ifndef NO_WAKE_FENCE
  empty(bufC);
#endif
  atomic {
    at = mem[AT_P];
    at = CROSSES(old, at, now)
  };
  if
  :: at ->
     d_step { empty(bufC) -> mem[WAKES_C + k]++ };
#ifdef FUTEX_ON_COUNT
     d_step { FUTEX_WAKE(CONSUMED + k) }
#else
     d_step { FUTEX_WAKE(WAKES_C + k) }
#endif
  :: else
  fi;
  at = 0
}

/* Settle(), as far as the oldest loan, or where we are */
inline settle() {
  atomic {
#ifdef PASS_LOAN
    to = taken;
#else
    to = (loan == NEVER -> taken : loan);
#endif
    c = consumed;
    if
    :: to > consumed ->
       PUT_C(CONSUMED + k, to); consumed = to; gConsumed = to;
       assert(loan == NEVER || to <= loan)                              /* C17 */
    :: else
    fi;
    to = 0
  };
  if :: consumed != c -> wake_producer(c, consumed) :: else fi;
  c = 0
}

/* Release(): what was borrowed must be as it was */
inline release() {
  atomic {
    assert(mem[DATA + loan % BLOCKS] == loan + 1);                           /* C9 */
    loan = NEVER
  }
}

/* Arm() .. Disarm() of WaitFor(), once; `is_ready` is its look. */
inline wait(position, is_ready) {
#ifndef WAKES_LATE
  w = mem[WAKES_P];
#endif
#ifdef NO_ARM_FENCE
  PUT_C(AT_C + k, position);
#else
  STORE_FENCE_C(AT_C + k, position);
#endif
#ifdef NO_RECHECK
  if
#else
  if
  :: is_ready
#endif
  :: else ->
#ifdef WAKES_LATE
     w = mem[WAKES_P];
#endif
     /* SleepOnFutex(); Told() before it only saves time */
#ifdef FLAGS_FIRST
     f = mem[FLAGS_C + k];
#endif
#ifdef FUTEX_ON_COUNT
     STORE_FENCE_C(ON_C + k, PRODUCED + 1);
#else
     STORE_FENCE_C(ON_C + k, WAKES_P + 1);
#endif
#ifndef FLAGS_FIRST
     f = mem[FLAGS_C + k];
#endif
     if
     :: f == 0 ->
#ifdef FUTEX_ON_COUNT
        d_step { if :: mem[PRODUCED] == taken -> asleepC = PRODUCED + 1 :: else fi };
#else
        d_step { if :: mem[WAKES_P] == w -> asleepC = WAKES_P + 1 :: else fi };
#endif
        asleepC == 0
     :: else
     fi;
     f = 0; PUT_C(ON_C + k, 0)
  fi;
  w = 0;
  PUT_C(AT_C + k, NEVER)
}

#define LARGER(a, b) (WITHIN(a) -> (WITHIN(b) && b > a -> b : a) : (WITHIN(b) -> b : 0))
#define WITHIN(a) (a <= p && p - a <= BLOCKS)

proctype Consumer(byte k) {
  byte hint, taken, consumed, loan, p, c, f, w, at, to, start;
  bool dead;
  {
    /* Prepare(), of a region that nobody else has */
    loan = NEVER;
    start = mem[START];
    p = mem[PRODUCED];
    d_step {
      if :: k == 1 -> c = mem[CONSUMED]; hint = LARGER(start, c) :: else -> hint = 0 fi;
      mem[CONSUMED + k] = hint; mem[AT_C + k] = NEVER; c = 0; start = 0; p = 0
    };
    /* Attach(): the agent passes it on; a producer that is gone passes no doorbell */
    d_step {
      if :: goneP -> mem[FLAGS_C + k] = DEAD :: else -> arrived = k + 1 fi
    };

    /* Begin() */
    do
    :: dead = mem[FLAGS_C + k];
       c = mem[NUMBER_P];
       if
       :: c != k + 1 && !dead -> c = 0; wait(NEVER, (mem[NUMBER_P] == k + 1))
       :: else -> break
       fi
    od;
    start = mem[START];
    p = mem[PRODUCED];
    d_step {
      if
      :: c == k + 1
      :: else ->
#ifdef HINT_ALONE
         start = hint
#elif !defined(NO_HINT)
         start = LARGER(start, hint)
#endif
      fi;
      assert(WITHIN(start));
      assert(start == gConsumed);                                       /* C10, C12, C16 */
      taken = start; consumed = start; c = 0; start = 0; p = 0; hint = 0; dead = 0
    };
    PUT_C(CONSUMED + k, consumed);
    PUT_C(NUMBER_C + k, k + 1);

    do
    :: /* Look(): the order of these loads is C13 */
#if defined(DEAD_LAST)
       f = mem[FIN]; p = mem[PRODUCED]; dead = mem[FLAGS_C + k];
#elif defined(FIN_LAST)
       dead = mem[FLAGS_C + k]; p = mem[PRODUCED]; f = mem[FIN];
#else
       dead = mem[FLAGS_C + k]; f = mem[FIN]; p = mem[PRODUCED];
#endif
       assert(p >= taken && p - consumed <= BLOCKS);                    /* C8 */
       if
       :: p == taken && f != 0 ->
          assert(f == p + 1 && taken == N);                             /* nothing is lost */
          if :: loan != NEVER -> release(); settle() :: else fi;
          break
       :: p == taken && f == 0 && dead ->
          assert(goneP && taken == gProduced);                          /* C13 */
          if :: loan != NEVER -> release(); settle() :: else fi;
          break
       :: p == taken && f == 0 && !dead ->
          /* who keeps a loan while it sleeps may wait for room that it keeps itself */
          if
          :: loan != NEVER -> release(); settle()
          :: else -> wait(taken, (mem[PRODUCED] != taken || mem[FIN] != 0))
          fi
       :: p > taken ->
          if
          :: true ->                                      /* Take() */
#ifdef CONSUMED_EARLY
             taken++; settle(); taken--;
#endif
             atomic {
               assert(mem[DATA + taken % BLOCKS] == taken + 1);              /* C9 */
               taken++
             }
          :: loan == NEVER ->                             /* Loan() */
             atomic {
               assert(mem[DATA + taken % BLOCKS] == taken + 1);              /* C9 */
               loan = taken; taken++
             }
          :: loan != NEVER ->                             /* Release() */
             release()
          fi;
          settle()
       fi;
       d_step { p = 0; f = 0; dead = 0 }
    od;
    eof = 1
  } unless { dieC && k == 0 };
  empty(bufC);
  d_step { asleepC = 0; taken = 0; consumed = 0; loan = 0; p = 0; c = 0; f = 0; w = 0; at = 0;
           start = 0; dead = 0; hint = 0 };
  if
  :: k == 0 && dieC ->
     /* another one comes, after the hang-up of this one */
     d_step {
       /* what nobody looks at any more, or only to wake somebody who is gone */
       mem[AT_C] = NEVER; mem[WAKES_C] = 0; mem[ON_C] = 0; mem[FLAGS_C] = 0;
       goneC = 1; if :: arrived == 1 -> arrived = 0 :: else fi };
     eof = 0;
     atomic { run WatchC(1); run Consumer(1) }
  :: else
  fi
}

proctype Crash() {
end:
  if
  :: CRASH == 1 -> dieP = 1
  :: CRASH == 2 -> dieC = 1
  :: CRASH == 3 -> dieC = 1;
end_late:   /* it had ended before */
     goneC; dieP = 1
  fi
}

init {
  atomic {
    mem[AT_P] = NEVER; mem[AT_C] = NEVER; mem[AT_C + 1] = NEVER;
    run DrainP(); run DrainC(); run WatchP(); run WatchC(0); run Producer(); run Consumer(0);
    if :: CRASH != 0 -> run Crash() :: else fi
  }
}
