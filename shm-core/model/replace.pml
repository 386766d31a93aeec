/*
 * Both directions of a stream. Either side may replace its half (growth inside a write, hand-over
 * between calls), more than once, end in order, reset, or die at any step.
 *
 * Steps mirror shimmy/stream_end.h, function by function; "I1" to "I11" are the invariants of
 * README.md. One statement touches shared state once, except that records already queued are
 * eaten in one step (the peer can only add behind them). doorbell.pml checks the finer steps and
 * every fence; this model is about what REPLACE adds. A switch removes or changes one rule.
 */

#define LT    0       /* level-triggered; waits for IN only or for OUT only, as it likes */
#define ET    1       /* edge-triggered, until EAGAIN */
#define RELAY 2       /* our relay */
#ifndef KIND0
#define KIND0 LT
#endif
#ifndef KIND1
#define KIND1 LT
#endif
#ifndef CAP
#define CAP 2
#endif
#ifndef QUARTER
#define QUARTER 1     /* cap / 4 */
#endif
#ifndef N0
#define N0 3          /* bytes that side 0 sends */
#endif
#ifndef N1
#define N1 2
#endif
#ifndef WRITE_MAX
#define WRITE_MAX 2
#endif
#ifndef READ_MAX
#define READ_MAX 2
#endif
#ifndef REPLACES0
#define REPLACES0 1   /* how often side 0 may replace its half */
#endif
#ifndef REPLACES1
#define REPLACES1 0
#endif
#ifndef CRASH
#define CRASH 9       /* 0, 1: this side may die at any step; 9: none */
#endif
#ifndef RESET
#define RESET 9       /* 0, 1: this side may reset the stream between calls; 9: none */
#endif
#ifndef BELLS_MAX
#define BELLS_MAX 8
#endif

/* ---- memory ------------------------------------------------------------------------------- */

/* Two slots a side: at most two halves of a side are in use at a time (I10). */
#define TAIL  0
#define HEAD  1
#define WAKE  2
#define PLUGS 3
#define FIN   4
#define RST   5
#define MOVED 6
#define HALF  7
byte mem[32];
#define AT(side, slot, word) (((side) * 2 + (slot)) * 8 + (word))
#define MINE(word)   AT(me, mine, word)
#define NEWEST(word) AT(1 - me, newest, word)
#define READING(word) AT(1 - me, reading, word)

/* x86-TSO store buffers; a store that a FENCE follows at once is one step (see doorbell.pml). */
chan buf[2] = [2] of { byte, byte };
#define FENCE empty(buf[me])
#define STORE_FENCE(word, value) d_step { empty(buf[me]) -> mem[MINE(word)] = value }

proctype Drain(bit me) {
  byte at, value;
end:
  do
  :: d_step { buf[me]?at, value; mem[at] = value; at = 0; value = 0 }
  od
}

/* ---- doorbell: bell[s] holds what side s sent --------------------------------------------- */

#define BELL 1
#define PLUG 2
#define REPLACE 3
#define PLUG_BYTES 3
#define REPLACE_BYTES 2
chan bell[2] = [12] of { byte };
byte nb[2], np[2], nr[2];
byte record_start[2], record_slot[2];     /* payload of the one REPLACE under way */
bool raised[2], shut[2], closed[2], error[2], edge[2];

#define OTHER (1 - me)
#define WRITABLE(s) ((nb[s] + nr[s] <= 10 && np[s] == 0) || (raised[s] && np[s] <= 1) || closed[1 - (s)])
#define READABLE(s) (len(bell[1 - (s)]) > 0 || shut[1 - (s)] || closed[1 - (s)])
#define FIONREAD (nb[OTHER] + PLUG_BYTES * np[OTHER] + REPLACE_BYTES * nr[OTHER])
#define SEND_FAILS (closed[OTHER] || shut[me] || nb[me] + nr[me] >= 10 || np[me] >= 2)

inline send(kind_of) {
  d_step {
    if
    :: SEND_FAILS -> assert(!(kind_of == REPLACE && !closed[OTHER]))
    :: else ->
       bell[me]!kind_of; edge[OTHER] = 1;
       if
       :: kind_of == BELL -> nb[me]++; assert(nb[me] <= BELLS_MAX)      /* I4 */
       :: kind_of == PLUG -> np[me]++; plugs++
       :: kind_of == REPLACE -> nr[me]++
       fi
    fi
  }
}

/* EatOne(); `bytes` is 0 when there was nothing. To be used inside atomic. */
inline eat_one() {
  bytes = 0;
  if
  :: error[me] ->                      /* ECONNRESET comes before the records, and is a hang-up */
     error[me] = 0;
#ifndef ERROR_IS_NO_HANGUP
     hung_up = 1
#endif
  :: !error[me] && len(bell[OTHER]) > 0 ->
     bell[OTHER]?record;
     if
     :: record == BELL -> nb[OTHER]--; bytes = 1
     :: record == PLUG -> np[OTHER]--; eaten++; bytes = PLUG_BYTES
     :: record == REPLACE ->
        nr[OTHER]--; bytes = REPLACE_BYTES;
        assert(newest == reading);                                      /* I10: kBadReplace */
        assert(mem[AT(OTHER, record_slot[OTHER], HALF)] >= mem[AT(OTHER, newest, HALF)]);  /* I10 */
        newest = record_slot[OTHER]; next = record_start[OTHER]; replaced = 1
     fi;
     record = 0;
     if :: WRITABLE(OTHER) -> edge[OTHER] = 1 :: else fi
  :: else
  fi
}

/* ---- what only the checker knows ----------------------------------------------------------- */

byte gTail[2], gHead[2], gStart[2];
byte where[2];                     /* bit p: slot in which byte p was written */
bool idle[2];                      /* outside any call (an ET app or a relay: asleep) */
bool wants_room[2];
bool die[2], was_reset[2], over[2];
byte kind_now[2];
#define TOTAL(s) ((s) == 0 -> N0 : N1)
#define USED(s) (gTail[s] - (gHead[s] < gStart[s] -> gStart[s] : gHead[s]))

/* Nobody is in a call and everything stored is visible. */
#define QUIET (idle[0] && idle[1] && empty(buf[0]) && empty(buf[1]))
#define LOST_BELL(s) (gTail[s] != gHead[s] && !shut[s] && !closed[s] && \
  (kind_now[1-(s)] == LT -> len(bell[s]) == 0 : !edge[1-(s)]))
#define LOST_ROOM(s) (!shut[s] && !closed[1-(s)] && CAP - USED(s) >= QUARTER && \
  (kind_now[s] == LT -> !WRITABLE(s) : (wants_room[s] && !edge[s])))

proctype Monitor() {               /* I1, I5 */
end:
  do
  :: d_step { QUIET && (LOST_BELL(0) || LOST_BELL(1) || LOST_ROOM(0) || LOST_ROOM(1)) -> assert(false) }
  od
}

/* ---- steps shared by the calls -------------------------------------------------------------- */

/* Available(): tail of the half being read, which ends where the next one starts. */
inline available() {
  atomic {
    if
    :: newest != reading && head == next ->
       reading = newest; half++;                       /* SwitchHalf() */
       buf[me]!MINE(HALF), half
    :: else
    fi;
    if
    :: newest != reading -> t = next
    :: else -> t = mem[READING(TAIL)]
    fi;
    assert(t - head <= CAP)                                             /* I2 */
  }
}

/* Look(): a peer that moved stores no more in its old half. */
inline look() {
#ifndef NO_LOOK
  atomic {
    if
    :: mem[NEWEST(MOVED)] ->
       replaced = 0;
#ifdef LOOK_ONLY_IF_THERE
       do :: !replaced && nr[OTHER] > 0 && !error[me] -> eat_one() :: else -> break od;
#else
       bytes = 1;
       do :: !replaced && bytes > 0 -> eat_one() :: else -> break od;
#endif
       replaced = 0; bytes = 0
    :: else
    fi
  }
#else
  skip
#endif
}

#ifdef SECOND_TOO_EARLY                /* the peer holds the first, but does not read from it yet */
#define CAN_REPLACE (replaces > 0 && !fin && !closed[OTHER] && nr[me] == 0)
#else
#define CAN_REPLACE (replaces > 0 && !fin && !closed[OTHER] && mem[NEWEST(HALF)] == number)
#endif

/* A relay that took its announcement back gives the fd to another user only after Arm() found
 * nothing: it must not hold bytes that no bell stands for. */
#if defined(PROMOTE) && !defined(PROMOTE_DISARMED)
#define MAY_HAND_OVER may_promote
#else
#define MAY_HAND_OVER true
#endif

/* Satisfied(): takes a queued plug back. */
inline satisfied() { d_step { if :: np[me] > 0 && !raised[me] -> raised[me] = 1; edge[me] = 1 :: else fi } }

/* Replace(): `moved` is the last store in the old half; nothing is stored in the new one before
 * REPLACE was sent. */
inline replace() {
  d_step {
    replaces--; number++;
    mem[AT(me, 1 - mine, TAIL)] = tail;
    mem[AT(me, 1 - mine, FIN)] = 0; mem[AT(me, 1 - mine, RST)] = 0; mem[AT(me, 1 - mine, MOVED)] = 0;
#ifdef NO_COPIES
    mem[AT(me, 1 - mine, HEAD)] = 0; mem[AT(me, 1 - mine, WAKE)] = 0;
    mem[AT(me, 1 - mine, PLUGS)] = 0; mem[AT(me, 1 - mine, HALF)] = half;
#else
    mem[AT(me, 1 - mine, HEAD)] = head; mem[AT(me, 1 - mine, WAKE)] = wake;
    mem[AT(me, 1 - mine, PLUGS)] = plugs;
#ifdef NO_COPY_OF_HALF
    mem[AT(me, 1 - mine, HALF)] = 0;
#else
    mem[AT(me, 1 - mine, HALF)] = half;
#endif
#endif
    record_start[me] = tail; record_slot[me] = 1 - mine
  }
#ifdef MOVED_AFTER_REPLACE
  send(REPLACE);
  send(BELL);
  buf[me]!MINE(MOVED), 1;
#elif defined(NO_MOVED)
  send(REPLACE);
  send(BELL);
#else
#ifdef NO_MOVED_FENCE
  buf[me]!MINE(MOVED), 1;
#else
  STORE_FENCE(MOVED, 1);
#endif
#ifdef REPLACE_MAY_FAIL                /* ETOOMANYREFS: take it back */
  if :: c = 1 :: c = 0 fi;
  if
  :: c ->
     STORE_FENCE(MOVED, 0);
#ifndef ROLL_BACK_WITHOUT_BELL
     send(BELL);                       /* a Look() that found no REPLACE may have eaten all bells */
#endif
  :: else -> send(REPLACE); send(BELL)
  fi;
#else
  send(REPLACE);
#ifndef NO_BELL_BEHIND_REPLACE
  send(BELL);
#endif
#endif
#endif
  if
  :: c -> number--
  :: else -> d_step { mine = 1 - mine; start = tail; gStart[me] = tail }
  fi;
  c = 0;
#ifndef NO_UNPLUG_ON_REPLACE
  satisfied()
#endif
}

/* ---- one side ------------------------------------------------------------------------------- */

proctype Side(bit me; byte kind; byte replaces) {
  byte tail, head, wake, plugs, eaten, start, next, number, half;
  byte t, f, n, got, want, done, c, old, record, bytes, keep;
  bit mine, newest, reading, asked, fin, eof, replaced, may_read, hung, hung_up, plugged, dead, disarmed, may_promote = 1;
  {
    may_read = 0;
s_app:
    skip;
    d_step {
      kind_now[me] = kind; t = 0; f = 0; n = 0; got = 0; want = 0; done = 0; old = 0; asked = 0; keep = 0;
      idle[me] = (kind == LT); wants_room[me] = 0
    }
    if
    :: fin && eof -> goto s_close
    :: replaces > 0 && CAN_REPLACE && MAY_HAND_OVER -> idle[me] = 0; replace(); goto s_replaced
    :: RESET == me && !fin -> idle[me] = 0; goto s_reset
    :: kind == LT && !eof -> goto s_wait_in
    :: kind == LT && !fin -> goto s_wait_out
    :: kind == ET && !eof && may_read -> goto r_begin
    :: kind != LT && !fin && !plugged -> goto w_begin
    :: kind == ET && (eof || !may_read) && (fin || plugged) && !(fin && eof) -> goto s_sleep
    :: kind == RELAY && !eof -> goto r_poll
    :: kind == RELAY && !fin && plugged && CAP - (tail - mem[NEWEST(HEAD)]) >= QUARTER -> plugged = 0; goto s_app
    :: kind == RELAY && eof && !fin && plugged -> goto s_sleep
    fi;

    /* A level-triggered or blocking app that waits for one thing only. It may give up only when
     * there is truly nothing to wait for. */
s_wait_in:
    if
    :: READABLE(me) -> idle[me] = 0; goto r_begin
    :: gHead[OTHER] == gTail[OTHER] && !fin && !shut[OTHER] && !closed[OTHER] ->
progress_in:
       goto s_app
    fi;
s_wait_out:
    if
    :: tail == TOTAL(me) -> idle[me] = 0; goto w_begin
    :: tail != TOTAL(me) && WRITABLE(me) -> idle[me] = 0; goto w_begin
    :: CAP - USED(me) < QUARTER && !closed[OTHER] ->
progress_out:
       goto s_app
    fi;
s_sleep:
    skip;
    d_step { idle[me] = 1; wants_room[me] = (!fin && plugged) }
    edge[me] -> d_step {
      edge[me] = 0; idle[me] = 0;
      may_read = READABLE(me);
      if :: WRITABLE(me) -> plugged = 0 :: else fi;
      hung = (shut[OTHER] || closed[OTHER])
    }
    goto s_app;
s_replaced:
#ifdef PROMOTE                        /* the relay hands over to an app that holds the fd itself */
    kind = LT;
#endif
    /* the successor registers the fd: epoll reports what is there */
    edge[me] = 1;
    goto s_app;

    /* -- Read(k) -- */
r_begin:
    got = 0;
r_load:
    available();
    if
    :: t != head && got < READ_MAX ->
       atomic {
         c = (t - head < READ_MAX - got -> t - head : READ_MAX - got);
         got = got + c;
         do
         :: c > 0 -> assert(((where[OTHER] >> head) & 1) == reading); head++; c--  /* I9 */
         :: c == 0 -> break
         od;
         gHead[OTHER] = head; assert(head <= gTail[OTHER])              /* I3 */
       }
       if
       :: CAP - (t - head) >= QUARTER ->                                /* Consume() */
          STORE_FENCE(HEAD, head);
          atomic {
            c = mem[NEWEST(PLUGS)];
            bytes = 1;
            do :: c > eaten && bytes > 0 -> eat_one() :: else -> break od;
            c = 0; bytes = 0; replaced = 0
          }
       :: else -> buf[me]!MINE(HEAD), head
       fi;
       if :: kind == RELAY -> goto s_app :: else -> goto r_load fi
    :: t != head && got == READ_MAX -> goto r_return
    :: t == head
    fi;
r_arm:
    skip;
    n = FIONREAD;
    d_step { empty(buf[me]) -> wake = head; mem[MINE(WAKE)] = head }
    available();
    atomic {
      f = mem[NEWEST(FIN)]; keep = (t != head || f -> 1 : 0);
#ifdef RELAY_EATS_ALL
      if :: kind == RELAY -> keep = 0 :: else fi
#endif
    }
    atomic {                                                            /* EatOld() */
      replaced = 0;
#ifdef LAZY_RELAY
      if :: kind == RELAY && !hung && n <= 4 -> n = 0 :: else fi;
#endif
      bytes = 1;
#ifdef NO_STOP_BEHIND_REPLACE
      do :: n > keep && bytes > 0 -> eat_one(); n = (n > bytes -> n - bytes : 0) :: else -> break od;
      replaced = 0;
#else
      do :: n > keep && !replaced && bytes > 0 -> eat_one(); n = (n > bytes -> n - bytes : 0) :: else -> break od;
#endif
      bytes = 0; keep = 0
    }
#ifdef LAZY_RELAY
#ifndef LAZY_NO_LOOK
    if :: kind == RELAY && mem[NEWEST(MOVED)] && nr[OTHER] > 0 -> look(); goto r_arm :: else fi;
#endif
#endif
    if
    :: replaced -> replaced = 0; goto r_arm
    :: !replaced && t != head && got < READ_MAX -> goto r_load
    :: !replaced && t != head && got == READ_MAX -> goto r_return
    :: !replaced && t == head && f && f != head + 1 -> goto r_arm       /* I6 */
    :: !replaced && t == head && (!f || f == head + 1)
    fi;
    /* Ending() */
    if
    :: got > 0 -> goto r_return
    :: else
    fi;
    if
    :: mem[NEWEST(RST)] ->
       available();
       if
       :: t != head -> goto r_load
       :: t == head && !f && mem[NEWEST(FIN)] -> goto r_arm
       :: else -> goto r_reset
       fi
    :: else
    fi;
    if :: f -> goto r_eof :: else fi;
    if
#ifdef HANGUP_DECIDES
    :: shut[OTHER] || closed[OTHER]
#else
    :: hung_up || (n == 0 && (shut[OTHER] || closed[OTHER]))
#endif
    :: else -> goto r_return
    fi;
    available();                                                        /* AgainOr(kPeerDied), I7 */
    if
    :: t != head -> goto r_load
    :: t == head && mem[NEWEST(FIN)] -> goto r_arm
    :: else
    fi;
#ifndef HANGUP_DECIDES
    atomic { eat_one(); replaced = 0; c = bytes; bytes = 0 }
    if :: c -> c = 0; goto r_arm :: else fi;
#endif
    if :: mem[NEWEST(RST)] -> goto r_reset :: else fi;
    assert(die[OTHER]);                                                 /* I7 */
    assert(head == mem[AT(OTHER, newest, TAIL)] && !was_reset[OTHER]);
    dead = 1;
    goto r_over;
r_reset:
    assert(was_reset[OTHER]);                                           /* I11 */
    goto r_over;
r_eof:
    assert(head == TOTAL(OTHER));                                       /* I6 */
    assert(!was_reset[OTHER]);
r_over:
    eof = 1; may_read = 0;
    if :: closed[OTHER] -> fin = 1 :: else fi;
    goto s_app;
r_return:
    if
    :: kind == RELAY && got == 0 -> goto r_armed
    :: kind == ET && got == 0 && !hung -> may_read = 0; goto s_app
    :: else -> goto s_app
    fi;

    /* -- StreamRelay: polls while awake; arms when it has nothing else to do -- */
r_poll:
    available();
    if
    :: t != head -> goto r_load
#ifdef DISARM                          /* Disarm() while it spins: no bells, please; no fence */
    :: t == head && !disarmed ->
       d_step { disarmed = 1; may_promote = 0; wake = head - 1 }
       buf[me]!MINE(WAKE), wake;
       goto s_app
    :: t == head && disarmed -> disarmed = 0; goto r_arm
#endif
    :: t == head && !disarmed -> goto r_arm          /* for example because its application is silent */
    :: t == head && !fin && !plugged && !hung ->
progress_awake:
       goto s_app
    fi;
r_armed:                               /* kWouldBlock: the invariant is restored */
    may_promote = 1;
    if
    :: fin || plugged -> goto s_sleep
    :: !fin && !plugged -> goto s_app
#ifdef PROMOTE
    :: replaces > 0 && CAN_REPLACE -> replace(); goto s_replaced
#endif
    fi;

    /* -- Write(w) -- */
w_begin:
    if
    :: closed[OTHER] -> fin = 1; goto s_app
    :: !closed[OTHER] && tail == TOTAL(me) -> goto w_fin
    :: else
    fi;
    skip;
    d_step { done = 0; asked = 0; want = (TOTAL(me) - tail < WRITE_MAX -> TOTAL(me) - tail : WRITE_MAX) }
w_load:
    atomic {                                                            /* Room() */
      c = mem[NEWEST(HEAD)];
#ifndef NO_MAX_START
      if :: c < start -> c = start :: else fi;
#endif
      assert(tail - c <= CAP);                                          /* I2 */
      if
      :: done < want && tail - c < CAP ->
         c = (want - done < CAP - (tail - c) -> want - done : CAP - (tail - c));
         old = tail; done = done + c;
         do
         :: c > 0 -> where[me] = where[me] | (mine << tail); tail++; c--
         :: c == 0 -> break
         od;
         gTail[me] = tail; assert(USED(me) <= CAP)                      /* I2 */
      :: done == want -> c = 0; goto w_satisfied
      :: else -> c = 0; goto w_full
      fi
    }
    STORE_FENCE(TAIL, tail);                                            /* Publish() */
    look();
    atomic {
      c = mem[NEWEST(WAKE)];
      if :: old <= c && c < tail -> c = 0 :: else -> c = 0; goto w_load fi
    }
    send(BELL);
    goto w_load;
w_full:
    skip;
    if
    :: asked -> if :: kind != LT -> plugged = 1 :: else fi; goto w_wait
    :: !asked && CAN_REPLACE -> replace(); goto w_load                  /* growth */
    :: !asked
    fi;
    d_step { raised[me] = 0; c = 0; if :: np[me] == 0 && !SEND_FAILS -> c = 1 :: else fi }
    if :: c -> c = 0; send(PLUG); send(BELL) :: else fi;                /* PlugFull() */
    STORE_FENCE(PLUGS, plugs);
    look();
    asked = 1;
    goto w_load;
w_satisfied:
    skip;
    satisfied();
    goto s_app;
w_wait:                                /* the relay asks for EPOLLOUT now; ET keeps its edges */
    if :: kind == RELAY && WRITABLE(me) -> edge[me] = 1 :: else fi;
    goto s_app;

    /* -- Fin() -- */
w_fin:
    skip;
    STORE_FENCE(FIN, tail + 1);
    d_step { shut[me] = 1; edge[OTHER] = 1; fin = 1 }
    goto s_app;

    /* -- Reset(), then close -- */
s_reset:
    was_reset[me] = 1;
#ifdef NO_RESET_FENCE
    buf[me]!MINE(RST), 1;
#else
    STORE_FENCE(RST, 1);
#endif
    send(BELL);
    goto s_end;

    /* -- orderly close: receive until nothing is left, so that the kernel makes no reset of it */
s_close:
    atomic { do :: len(bell[OTHER]) > 0 -> eat_one() :: else -> break od; replaced = 0; bytes = 0; newest = reading }
s_end:
    skip
  } unless { die[me] };
  if :: die[me] -> FENCE :: else fi;
  atomic {                             /* the kernel closes the doorbell */
    if :: len(bell[OTHER]) > 0 -> error[OTHER] = 1 :: else fi;
    do :: len(bell[OTHER]) > 0 -> bell[OTHER]?record :: else -> break od;
    nb[OTHER] = 0; np[OTHER] = 0; nr[OTHER] = 0; record = 0;
    closed[me] = 1; shut[me] = 1; edge[OTHER] = 1; over[me] = 1; idle[me] = 0
  }
}

proctype Killer(bit who) {
  if
  :: !over[who] -> die[who] = 1
  :: over[who]
  fi
}

init {
  atomic {
    run Drain(0); run Drain(1); run Monitor();
    run Side(0, KIND0, REPLACES0); run Side(1, KIND1, REPLACES1);
    if :: CRASH != 9 -> run Killer(CRASH) :: else fi
  }
}
