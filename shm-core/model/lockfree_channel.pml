/*
 * The lock-free channel: Publisher writes N messages into one slot with one place of blocks, again
 * and again (the tightest reuse there is), a Subscriber takes or loans them. Steps mirror
 * lockfree_publisher.h and lockfree_subscriber.h; "L2" to "L6" are their invariants.
 *
 * Each process has a store buffer (TSO). Two messages share a pool of two runs; a pinned place is
 * stepped over. Each -DNO_… switch removes one rule: a broken twin. CRASH 1: the publisher may die
 * at any step, 2: the subscriber; a death is seen as a hang-up.
 */
#ifndef N
#define N 4
#endif
#ifndef CRASH
#define CRASH 0
#endif

#define STAMP 0
#define RUN 1     /* descriptor: which place */
#define WORD 2    /* two payload words of place 0, then of place 1 */
#define PUBLISHED 6
#define OLDEST 7
#define FIN 8
#define PIN 9
#define AT 11
#define WAKES 12
byte mem[13];
chan bufP = [4] of { byte, byte };
chan bufS = [3] of { byte, byte };

proctype DrainP() { byte w, v; end: do :: d_step { bufP?w, v; mem[w] = v; w = 0; v = 0 } od }
proctype DrainS() { byte w, v; end: do :: d_step { bufS?w, v; mem[w] = v; w = 0; v = 0 } od }
#define FENCE_P empty(bufP)
#define FENCE_S empty(bufS)

bool asleep;       /* in FUTEX_WAIT: a wake that comes before finds nobody */
bool goneP, goneS, dieP, dieS;

inline wake(number) {
#ifndef NO_PUBLISH_FENCE
  FENCE_P;
#endif
  if
  :: mem[AT] == number ->
     bufP!WAKES, mem[WAKES] + 1; FENCE_P;     /* FUTEX_WAKE has a barrier of its own */
     asleep = 0
  :: else
  fi
}

proctype Publisher() {
  byte n, place, kept[2];
  {
    do
    :: n == N -> break
    :: n < N ->
       /* TakeBack() of message n - 1, time-to-live over */
       if
       :: n > 0 ->
#ifdef NO_OLDEST_FIRST
          bufP!STAMP, 0; bufP!OLDEST, n;
#else
          bufP!OLDEST, n;
#ifndef NO_INVALIDATE
          bufP!STAMP, 0;
#endif
#endif
#ifndef NO_TAKE_BACK_FENCE
          FENCE_P;
#endif
          kept[place] = n;             /* a pin names message n - 1 as n */
          d_step {                     /* RefreshKept(): one load of the one pin */
#ifdef NO_PINS
            kept[0] = 0; kept[1] = 0;
#else
            if :: kept[0] != mem[PIN] || goneS -> kept[0] = 0 :: else fi;
            if :: kept[1] != mem[PIN] || goneS -> kept[1] = 0 :: else fi;
#endif
            /* the tightest reuse: the same place again unless it is kept */
            if :: kept[place] != 0 -> place = 1 - place :: else fi;
            assert(kept[place] == 0)
          }
       :: else
       fi;
       bufP!(WORD + 2 * place), n + 1;
       bufP!(WORD + 2 * place + 1), n + 1;
#ifdef PUBLISHED_EARLY
       bufP!RUN, place; bufP!PUBLISHED, n + 1; bufP!STAMP, n + 1;
#else
       bufP!RUN, place; bufP!STAMP, n + 1; bufP!PUBLISHED, n + 1;
#endif
       n++;
       wake(n - 1)
    od;
    bufP!FIN, n + 1;
#ifndef NO_FIN_WAKE
    wake(n)
#endif
  } unless { dieP };
  FENCE_P;
  if :: dieP -> goneP = 1 :: else fi   /* a hang-up ends a wait: not here, where `fin` must */
}

proctype Subscriber() {
  byte next, p, f, s, place, a, b, missed, got, o, w;
  {
    do
    :: f = mem[FIN]; p = mem[PUBLISHED];
       if
       :: p == next && f != 0 -> assert(f == p + 1); assert(got + missed == N); break
       :: p == next && f == 0 && goneP ->         /* hang-up: look once more, then leave */
          p = mem[PUBLISHED]; if :: p == next -> break :: else fi
       :: p == next && f == 0 && !goneP ->
#ifndef WAKES_LATE
          w = mem[WAKES];
#endif
#ifdef NO_ARM
          skip;
#else
          bufS!AT, next;
#endif
#ifndef NO_ARM_FENCE
          FENCE_S;
#endif
#ifndef NO_RECHECK
          if :: mem[PUBLISHED] != next || mem[FIN] != 0 :: else ->
#else
          if :: true ->
#endif
#ifdef WAKES_LATE
             w = mem[WAKES];
#endif
             /* FUTEX_WAIT: the kernel looks and queues in one step */
#ifdef FUTEX_ON_COUNT
             d_step { if :: mem[PUBLISHED] == next -> asleep = 1 :: else fi };
#else
             d_step { if :: mem[WAKES] == w -> asleep = 1 :: else fi };
#endif
             (!asleep || goneP)
          fi;
          d_step { asleep = 0; p = 0; f = 0; w = 0 };
          bufS!AT, 255; FENCE_S
       :: else ->
          assert(p > next);
          s = mem[STAMP];
          if
          :: s != next + 1 -> goto skip_on
          :: else
          fi;
          place = mem[RUN];
          if :: mem[STAMP] != next + 1 -> goto skip_on :: else fi;
          if
          :: true ->                              /* by copy */
             a = mem[WORD + 2 * place]; b = mem[WORD + 2 * place + 1];
#ifndef NO_SECOND_STAMP
             if :: mem[STAMP] != next + 1 -> goto skip_on :: else fi;
#endif
             assert(a == next + 1 && b == next + 1)                      /* L3: whole */
          :: true ->                              /* by loan */
#ifdef PIN_AFTER_CHECK
             if :: mem[STAMP] != next + 1 -> goto skip_on :: else fi;
             bufS!PIN, next + 1; FENCE_S;
#else
             bufS!PIN, next + 1;
#ifndef NO_PIN_FENCE
             FENCE_S;
#endif
#ifndef NO_PIN_RECHECK
             if :: mem[STAMP] != next + 1 -> bufS!PIN, 0; goto skip_on :: else fi;
#endif
#endif
             a = mem[WORD + 2 * place]; b = mem[WORD + 2 * place + 1];
             assert(a == next + 1 && b == next + 1);                     /* L4: unchanged */
             if :: mem[WORD + 2 * place] == next + 1 :: else -> assert(false) fi;
             bufS!PIN, 0
          fi;
          next++; got++; goto again;
skip_on:
          o = mem[OLDEST];
          assert(o > next);                                              /* L5 */
          missed = missed + o - next; next = o;
again:
          s = 0; d_step { place = 0; a = 0; b = 0; o = 0; p = 0; f = 0 }
       fi
    od
  } unless { dieS };
  FENCE_S; goneS = 1
}

proctype Crash() {
end:
  if
  :: CRASH == 1 -> dieP = 1
  :: CRASH == 2 -> dieS = 1
  fi
}

init {
  atomic {
    mem[AT] = 255;
    run DrainP(); run DrainS(); run Publisher(); run Subscriber(); run Crash()
  }
}
