/*
 * One data direction of a stream: Producer writes N bytes and closes, Consumer reads them.
 * The doorbell carries bells and plugs from Producer to Consumer.
 *
 * Steps mirror the C++ functions named beside them; "I1" to "I8" are the invariants of README.md.
 * One statement touches shared state once: everything between two such accesses is one step.
 * Each -DNO_… / -DEAT_… / … switch removes one rule: a broken twin, which check.sh expects to be
 * rejected. No switch = the protocol as it is.
 */

/* Kinds of application; ANY = the checker tries them all. */
#define LT        0   /* level-triggered event loop */
#define ET        1   /* edge-triggered, until EAGAIN */
#define ET_SHORT  2   /* edge-triggered, until a short count */
#define BLOCKING  3   /* blocking calls */
#define IMPATIENT 4   /* level-triggered, but also calls without being ready */
#define RELAY     5   /* our relay: polls while awake, arms before it sleeps */
#define ANY       9

#ifndef PROD
#define PROD ANY
#endif
#ifndef CONS
#define CONS ANY
#endif
#ifndef CRASH
#define CRASH 0       /* 1: the producer may die at any step, 2: the consumer, 9: either */
#endif
#ifndef CAP
#define CAP 3         /* ring */
#endif
#ifndef QUARTER
#define QUARTER 1     /* free bytes at which the reader takes the plug out */
#endif
#ifndef N
#define N 5           /* bytes sent in all */
#endif
#ifndef WRITE_MAX
#define WRITE_MAX 2   /* bytes per write() */
#endif
#ifndef READ_MAX
#define READ_MAX 2    /* bytes per read() */
#endif
#ifndef LAZY
#define LAZY 1        /* relay: may arm this many times before it eats bells (0: never lazy) */
#endif
#ifndef BELLS_MAX
#define BELLS_MAX 6   /* I4; the kernel keeps the doorbell writable with ten */
#endif
#ifndef BUFFER
#define BUFFER 3      /* entries of a store buffer */
#endif

/* ---- memory: one store buffer per process ------------------------------------------------- */

#define TAIL  0       /* release store */
#define PLUGS 1
#define FIN   2
#define DATA  3       /* -DWEAK: how far the ring's bytes were written */
#define HEAD  4       /* release store */
#define WAKE  5
byte mem[6];
chan bufP = [BUFFER] of { byte, byte };
chan bufC = [BUFFER] of { byte, byte };

/* x86-TSO: a store becomes visible late, but in order. -DWEAK (arm64): one buffer per location:
 * a store may overtake older stores to other words, unless it is a release store. Written as one
 * queue from which a relaxed store may be taken out of turn. */
proctype DrainP() {
  byte word, value;
end:
  do
  :: d_step { bufP?word, value; mem[word] = value; word = 0; value = 0 }
#ifdef WEAK
  :: d_step { bufP??PLUGS, value; mem[PLUGS] = value; value = 0 }
  :: d_step { bufP??FIN, value; mem[FIN] = value; value = 0 }
  :: d_step { bufP??DATA, value; mem[DATA] = value; value = 0 }
#ifdef NO_TAIL_RELEASE
  :: d_step { bufP??TAIL, value; mem[TAIL] = value; value = 0 }
#endif
#endif
  od
}

proctype DrainC() {
  byte word, value;
end:
  do
  :: d_step { bufC?word, value; mem[word] = value; word = 0; value = 0 }
#ifdef WEAK
  :: d_step { bufC??WAKE, value; mem[WAKE] = value; value = 0 }
#endif
  od
}

#define FENCE_P empty(bufP)
#define FENCE_C empty(bufC)
/* A store directly followed by a FENCE. Nobody can tell when the store entered the buffer, and its
 * owner does nothing until the buffer is empty: on TSO this is one step. */
#ifdef WEAK
#define STORE_FENCE_P(word, value) bufP!word, value; FENCE_P
#define STORE_FENCE_C(word, value) bufC!word, value; FENCE_C
#else
#define STORE_FENCE_P(word, value) d_step { empty(bufP) -> mem[word] = value }
#define STORE_FENCE_C(word, value) d_step { empty(bufC) -> mem[word] = value }
#endif

/* ---- doorbell: a Unix SEQPACKET pair, as the kernel behaves ------------------------------- */

#define BELL 1
#define PLUG 2
#define QUEUE 14
chan bell = [QUEUE] of { byte };   /* records on their way to the consumer */
byte nb, np;                       /* bells and plugs among them */
bool raised;                       /* the producer's SO_SNDBUF is 65536 */
bool shutP, closedP, closedC;
bool edgeC, edgeP = 1;             /* epoll's ready list, for edge-triggered users */

#define WRITABLE ((nb <= 10 && np == 0) || (raised && np <= 1 && nb <= 20))
#define READABLE (len(bell) > 0 || shutP || closedP)
#ifdef NO_ROOM_BEHIND_PLUG
#define SEND_FAILS (closedC || shutP || nb + np >= QUEUE - 1 || np >= 1)
#else
#define SEND_FAILS (closedC || shutP || nb + np >= QUEUE - 1 || np >= 2)
#endif
#define PLUG_BYTES 3               /* weight in FIONREAD: more than a bell's 1 */
#define FIONREAD (nb + PLUG_BYTES * np)

inline send_bell() {
  d_step {
    if
    :: SEND_FAILS
    :: else -> bell!BELL; nb++; assert(nb <= BELLS_MAX); edgeC = 1      /* I4 */
    fi
  }
}

/* recv of one record; every eaten record gives its sender an EPOLLOUT edge. */
inline eat_one(left) {
  d_step {
    if
    :: len(bell) > 0 ->
       bell?record;
       if
       :: record == BELL -> nb--; left = (left > 1 -> left - 1 : 0)
       :: record == PLUG -> np--; eaten++;
          left = (left > PLUG_BYTES -> left - PLUG_BYTES : 0)
       fi;
       record = 0;
       if :: WRITABLE -> edgeP = 1 :: else fi
    :: else -> left = 0
    fi
  }
}

/* ---- what the checker knows and the two processes do not ---------------------------------- */

byte kindP, kindC, crash;
byte gTail, gHead;                 /* true cursors */
bool pausing;                      /* the producer waits for an answer to all it wrote */
bool doneP, dieP, dieC, endP, endC;

/* ---- producer ------------------------------------------------------------------------------ */

proctype Producer() {
  byte tail, old, done, want, c, h, plugs, tries;
  bit asked, may_write;
  {
    skip;                             /* (a label may not come first) */
p_app:
    /* a real app often says nothing until it has its answer: a model without this is too weak */
    if
    :: true
    :: tail > 0 -> pausing = 1; (gHead == tail || closedC) -> pausing = 0
    fi;
    if :: tail == N -> goto p_close :: else fi;
    if
    :: kindP == LT -> (WRITABLE || closedC)
    :: kindP == IMPATIENT -> if :: (WRITABLE || closedC) :: tries < 2 -> tries++ fi
    :: kindP == BLOCKING
    :: (kindP == ET || kindP == ET_SHORT) && may_write
    :: (kindP == ET || kindP == ET_SHORT) && !may_write ->
       edgeP -> d_step { edgeP = 0; may_write = (WRITABLE || closedC) }
       if :: may_write :: else -> goto p_app fi
    :: kindP == RELAY && may_write
    :: kindP == RELAY && !may_write ->
       if
       :: edgeP -> edgeP = 0         /* asleep: only the EPOLLOUT edge wakes it */
       :: CAP - (tail - mem[HEAD]) >= QUARTER     /* PollHot(): awake, sees head move */
       fi
    fi;

    /* -- Write(w) -- */
    if :: closedC -> goto p_out :: else fi;
    d_step { asked = 0; done = 0; want = (N - tail < WRITE_MAX -> N - tail : WRITE_MAX) }
w_load:                               /* L: head = peer.head */
    atomic {
      h = mem[HEAD];
      assert(tail - h <= CAP);                                          /* I2 */
      if
      :: done < want && tail - h < CAP ->                               /* room: copy */
         c = (want - done < CAP - (tail - h) -> want - done : CAP - (tail - h));
         old = tail; tail = tail + c; done = done + c; c = 0;
         gTail = tail; assert(gTail - gHead <= CAP)                     /* I2 */
      :: done == want -> goto w_satisfied
      :: else -> goto w_full
      fi
    }
#ifdef WEAK
    bufP!DATA, tail;
#endif
#ifdef NO_PRODUCER_FENCE
    bufP!TAIL, tail;
#else
    STORE_FENCE_P(TAIL, tail);
#endif
    atomic {                          /* the crossing test */
      c = mem[WAKE];
      if
#ifdef NO_CROSSING
      :: c < tail -> c = 0
#else
      :: old <= c && c < tail -> c = 0
#endif
      :: else -> c = 0; goto w_load
      fi
    }
#ifndef NO_BELL
    send_bell();
#endif
    goto w_load;

w_full:                               /* full: plug, also after a partial copy */
#ifdef NO_PLUG
    goto w_return;
#endif
    if :: asked -> goto w_return :: else fi;
#ifdef NO_SHORT_PLUG
    if :: done > 0 -> goto w_return :: else fi;
#endif
    d_step {
      raised = 0;
      if
#ifndef NO_PLUG_QUERY
      :: np > 0                       /* SIOCOUTQ: one is still queued */
#endif
      :: SEND_FAILS
      :: else -> bell!PLUG; np++; plugs++; edgeC = 1; c = 1
      fi
    }
#ifdef NO_BELL_BEHIND_PLUG
    c = 0;
#else
    if :: c -> c = 0; send_bell() :: else fi;
#endif
#ifdef PLUG_FLAG
    STORE_FENCE_P(PLUGS, 1);
#elif defined(NO_PLUG_FENCE)
    bufP!PLUGS, plugs;
#else
    STORE_FENCE_P(PLUGS, plugs);
#endif
    asked = 1;
#ifdef NO_WRITER_RECHECK
    goto w_return;
#else
    goto w_load;
#endif

w_satisfied:                          /* take a queued plug back: we wait no longer */
    skip;
#ifndef NO_TAKE_BACK
#ifdef RELAY_KEEPS_PLUG
    if :: kindP == RELAY -> goto w_return :: else fi;
#endif
    d_step { if :: np > 0 && !raised -> raised = 1; edgeP = 1 :: else fi }
#endif
#ifdef PLUG_FLAG
    if :: np == 0 -> bufP!PLUGS, 0 :: else fi;
#endif
w_return:
    skip;
    d_step {
      if
      :: kindP == ET -> may_write = (done > 0)
      :: kindP == ET_SHORT || kindP == RELAY -> may_write = (done == want)
      :: else
      fi;
      /* the relay asks for EPOLLOUT only while it waits for room; asking reports the present */
      if :: kindP == RELAY && !may_write -> edgeP = (WRITABLE || closedC) :: else fi;
      h = 0; old = 0; want = 0; asked = 0
    }
    if :: kindP == BLOCKING && done == 0 -> (WRITABLE || closedC) :: else fi;
    done = 0;
    goto p_app;

    /* -- Close(): FIN, then a real shutdown -- */
p_close:
    doneP = 1;
#ifdef NO_FIN_FENCE
    bufP!FIN, tail + 1;
#else
    STORE_FENCE_P(FIN, tail + 1);
#endif
#ifndef NO_FIN_BELL
    send_bell();
#endif
    d_step { shutP = 1; edgeC = 1 }
p_out:
    doneP = 1
  } unless { dieP };
  FENCE_P;
  d_step { closedP = 1; edgeC = 1; endP = 1 }
}

/* ---- consumer ------------------------------------------------------------------------------ */

proctype Consumer() {
  byte head, t, f, n, got, c, keep, eaten, record, tries, armed;
  bit may_read, hangup, disarmed;
  {
    skip;
c_app:
    /* no interest until the producer has written all that must fit: needed to catch twins */
    if
    :: true
    :: true -> (gTail == N || gTail - gHead > CAP - QUARTER || pausing || doneP || closedP)
    fi;
    if
    :: kindC == LT -> READABLE
    :: kindC == IMPATIENT -> if :: READABLE :: tries < 2 -> tries++ fi
    :: kindC == BLOCKING
    :: (kindC == ET || kindC == ET_SHORT) && may_read
    :: (kindC == ET || kindC == ET_SHORT) && !may_read ->
       edgeC -> d_step { edgeC = 0; may_read = READABLE; hangup = (shutP || closedP) }
       if :: may_read :: else -> goto c_app fi
    :: kindC == RELAY -> goto r_awake
    fi;

    /* -- Read(k) -- */
    got = 0;
c_load:                               /* L: t = peer.tail */
    t = mem[TAIL];
c_copy:
    assert(t - head <= CAP);                                            /* range check of the peer */
    if
    :: t != head && got < READ_MAX ->
       d_step {
         c = (t - head < READ_MAX - got -> t - head : READ_MAX - got);
#ifdef WEAK
         assert(t <= mem[DATA]);                                        /* I3: bytes are there */
#ifndef NO_HEAD_RELEASE
         assert(mem[DATA] - head <= CAP);                               /* I3: not overwritten */
#endif
#endif
         head = head + c; got = got + c;
#ifndef NO_HEAD_RELEASE
         gHead = head; c = 0;
#endif
         assert(head <= gTail)                                          /* I3 */
       }
       bufC!HEAD, head;
#ifdef NO_HEAD_RELEASE
       /* the loads of the copy happen after the store is visible */
       d_step { assert(mem[DATA] - (head - c) <= CAP); gHead = head; c = 0 }
#endif
       if
       :: CAP - (t - head) >= QUARTER ->
#ifndef NO_HEAD_FENCE
          FENCE_C;
#endif
          c = mem[PLUGS];
#ifdef PLUG_FLAG
          if
          :: c -> n = eaten; do :: eaten == n && len(bell) > 0 -> eat_one(c) :: else -> break od;
             n = 0; eaten = 0
          :: else
          fi;
#else
          do
          :: c > eaten && c - eaten < 100 && len(bell) > 0 -> eat_one(n)
          :: else -> break
          od;
          n = 0;
#endif
          c = 0
       :: else
       fi
    :: else
    fi;
    if
    :: t != head && got == READ_MAX -> goto c_return
    :: t != head && got < READ_MAX -> goto c_load
    :: else
    fi;
    if :: kindC == RELAY -> got = 0; goto r_awake :: else fi;

    /* -- Arm(): nothing left: count the bells, arm, look again -- */
c_arm:
#ifdef TEXTBOOK
    do :: len(bell) > 0 -> eat_one(n) :: len(bell) == 0 -> break od;
    n = 0;
#else
    if
    :: armed >= LAZY -> n = FIONREAD; armed = 0
    :: kindC == RELAY && armed < LAZY -> n = 0; armed++     /* a lazy relay leaves a few */
    :: kindC != RELAY -> n = FIONREAD
    fi;
#ifdef RELAY_NEVER_EATS
    if :: kindC == RELAY -> n = 0 :: else fi;
#endif
#endif
#ifdef RELAY_NO_ARM
    if :: kindC != RELAY -> STORE_FENCE_C(WAKE, head) :: else fi;
#elif defined(NO_CONSUMER_FENCE)
    bufC!WAKE, head;
#elif defined(RELAY_NO_FENCE)
    bufC!WAKE, head;
    if :: kindC != RELAY -> FENCE_C :: else fi;
#else
    STORE_FENCE_C(WAKE, head);
#endif
#ifdef WEAK
    if
    :: f = mem[FIN]; t = mem[TAIL]    /* these two loads have no order */
    :: t = mem[TAIL]; f = mem[FIN]
    fi;
#else
#ifdef RELAY_NO_RECHECK
    if :: kindC != RELAY -> t = mem[TAIL] :: else fi;
#elif !defined(NO_RECHECK)
    t = mem[TAIL];
#endif
    f = mem[FIN];
#endif
#ifdef RELAY_EATS_AFTER_ARM
    if
    :: kindC == RELAY -> do :: len(bell) > 0 -> eat_one(n) :: else -> break od; n = 0
    :: else
    fi;
#endif
    d_step {
      keep = (t != head || f -> 1 : 0);
#ifdef NO_FIN_RECHECK
      keep = (t != head -> 1 : 0);
      if :: f && t == head && n > 0 -> f = 0 :: else fi;
#endif
#ifdef EAT_NONE
      keep = (keep -> 100 : 0);
#endif
#ifdef EAT_ALL
      keep = 0;
#endif
    }
    do :: n > keep -> eat_one(n) :: else -> break od;
    n = 0; keep = 0;
    if
#ifdef NO_COPY_ON
    :: t != head -> f = 0; goto c_return
#else
    :: t != head && got < READ_MAX -> f = 0; goto c_copy
    :: t != head && got == READ_MAX -> f = 0; goto c_return
#endif
    :: else
    fi;
#ifndef FIN_IS_FLAG
    if :: f && f != head + 1 -> f = 0; goto c_load :: else fi;
#endif
    if
    :: got > 0 -> f = 0; goto c_return
    :: got == 0 && f -> goto c_eof
    :: else
    fi;
#ifndef NO_HANGUP_LOOK
    /* a hang-up is only a hint to look, and counts only when no record is left */
    if
    :: (closedP || shutP) && len(bell) == 0 ->
       t = mem[TAIL];
       if :: t != head -> goto c_copy :: else fi;
       f = mem[FIN];
       if
       :: f == head + 1 -> goto c_eof
       :: f && f != head + 1 -> f = 0; goto c_load
       :: f == 0 && closedP -> goto c_dead
       :: f == 0 && !closedP -> assert(false)                           /* SHUT without a marker */
       fi
#ifndef RELAY_SLEEPS_AFTER_HANGUP
    :: kindC == RELAY && hangup && len(bell) > 0 -> armed = LAZY; goto c_arm     /* no more edges */
#endif
    :: else
    fi;
#endif
c_return:
    if :: kindC == RELAY -> if :: got == 0 -> goto r_sleep :: else -> got = 0; goto r_awake fi :: else fi;
    d_step {
      if
      :: kindC == ET && got == 0 && !hangup -> may_read = 0
      :: kindC == ET_SHORT && got < READ_MAX && !hangup -> may_read = 0
      :: else
      fi;
      c = got; got = 0; t = 0
    }
    if :: kindC == BLOCKING && c == 0 -> READABLE :: else fi;
    c = 0;
    goto c_app;

    /* -- StreamRelay: PollHot() while awake, ArmHot() before it sleeps -- */
r_awake:
    skip;
    d_step { t = mem[TAIL]; got = 0 }
    if
    :: t != head -> goto c_copy       /* same copy, same look at the plugs */
    :: t == head && mem[TAIL] != head -> goto r_awake   /* still awake, still looking */
    :: t == head && !disarmed ->      /* Disarm() while it spins: no bells, please; no fence */
       disarmed = 1; bufC!WAKE, head - 1; goto r_awake
    :: t == head -> disarmed = 0; goto c_arm
    fi;
r_sleep:
    edgeC -> edgeC = 0;
    if
    :: READABLE -> hangup = (shutP || closedP); goto c_app
    :: else -> goto r_sleep
    fi;

c_eof:
    assert(head == N && gTail == N && f == head + 1);                   /* I6 */
    goto c_out;
c_dead:
    assert((crash == 1) && dieP && head == mem[TAIL]);                  /* I7 */
c_out:
    skip
  } unless { dieC };
  FENCE_C;
  d_step {
    if
    :: dieC ->
       closedC = 1;
       do :: len(bell) > 0 -> bell?record :: len(bell) == 0 -> break od;
       nb = 0; np = 0; edgeP = 1
    :: else
    fi;
    endC = 1
  }
}

proctype Killer() {
  if
  :: crash == 1 && !endP -> dieP = 1
  :: crash == 2 && !endC -> dieC = 1
  :: endP && endC
  fi
}

init {
  atomic {
    if
    :: PROD != ANY -> kindP = PROD
    :: PROD == ANY -> if :: kindP = LT :: kindP = ET :: kindP = ET_SHORT :: kindP = BLOCKING :: kindP = IMPATIENT :: kindP = RELAY fi
    fi;
    if
    :: CONS != ANY -> kindC = CONS
    :: CONS == ANY -> if :: kindC = LT :: kindC = ET :: kindC = ET_SHORT :: kindC = BLOCKING :: kindC = IMPATIENT :: kindC = RELAY fi
    fi;
    if
    :: CRASH != ANY -> crash = CRASH
    :: CRASH == ANY -> if :: crash = 0 :: crash = 1 :: crash = 2 fi
    fi;
    run DrainP(); run DrainC(); run Producer(); run Consumer();
    if :: crash -> run Killer() :: else fi
  }
}
