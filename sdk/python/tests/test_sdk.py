"""What is Python's own about the SDK. test/integration/sdk-python.test.ts runs each test against an
agent; what all SDKs have in common is in test/conformance."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import unittest
import warnings
from pathlib import Path
from typing import Any

import shimmy_ipc
from shimmy_ipc import (
    AgentUnavailable,
    Client,
    Consumer,
    EndOfChannel,
    LockBased,
    LockFree,
    Producer,
    ShimmyError,
    ShimmyTimeout,
    TopicDenied,
)

A, B = os.environ.get("SHIMMY_TEST_SOCKETS", ":").split(":")


class SdkTest(unittest.TestCase):
    def setUp(self) -> None:
        warnings.simplefilter("error", ResourceWarning)
        self.a = Client(A)
        self.b = Client(B)
        self.producer = self.a.producer(self.id(), create=LockBased(max_loans=2))
        self.consumer = self.b.consumer(self.id())
        self.addCleanup(self.b.close)
        self.addCleanup(self.a.close)

    def id(self) -> str:
        return super().id().rsplit(".", 1)[1].replace("_", "-").lower()

    def full(self) -> None:
        while self.producer.try_publish(b"x"):
            pass

    # ---- buffers ----

    def test_a_loan_is_a_read_only_buffer_of_shared_memory(self) -> None:
        self.producer.publish(b"abc")
        with self.consumer.loan(timeout=5) as loan:
            self.assertEqual(bytes(loan.data), b"abc")
            self.assertEqual(len(loan), 3)
            self.assertTrue(loan.data.readonly)
            with self.assertRaises(TypeError):
                loan.data[0] = 1
        self.assertTrue(loan.is_released)
        with self.assertRaises(ShimmyError) as raised:
            _ = loan.data
        self.assertEqual(raised.exception.code, "SHIMMY_ERR_CLOSED")

    def test_what_has_views_is_not_given_back(self) -> None:
        self.producer.publish(b"abc")
        loan = self.consumer.loan(timeout=5)
        view = loan.data
        for give_back in (loan.release, self.consumer.close, self.b.close):
            with self.assertRaises(BufferError):
                give_back()
        self.assertEqual(bytes(view), b"abc")
        room = self.producer.reserve(3)
        writable = room.data
        for finish in (room.commit, room.cancel, self.producer.close, self.a.close):
            with self.assertRaises(BufferError):
                finish()
        writable[:] = b"def"
        view.release()
        writable.release()
        room.commit()
        loan.release()
        self.assertEqual(self.consumer.take(5).data, b"def")

    def test_a_view_outlives_the_names_of_what_it_is_of(self) -> None:
        producer = self.a.producer("names", create=LockBased())
        consumer = Client(B).consumer("names")
        producer.publish(b"kept")
        view = consumer.loan(timeout=5).data
        del consumer
        gc.collect()
        self.assertEqual(bytes(view), b"kept")
        view.release()
        del view
        gc.collect()
        self.assertEqual(self.b.consumer("names").describe().state, "live")

    def test_a_forgotten_loan_or_room_is_given_back(self) -> None:
        for _ in range(5):
            self.producer.publish(b"x")
        for _ in range(5):
            self.consumer.loan(timeout=5)
        for _ in range(100):
            self.producer.reserve(4096, timeout=5)
        self.producer.drain(timeout=5)

    def test_leaving_a_room_by_an_exception_cancels_it(self) -> None:
        with self.assertRaises(KeyError), self.producer.reserve(10) as room:
            raise KeyError
        self.assertTrue(room.is_finished)
        self.producer.publish(b"next")
        self.assertEqual(self.consumer.take(5).data, b"next")

    def test_arrays_of_numpy_are_not_copied(self) -> None:
        import numpy

        with self.producer.reserve(6 * 8) as room:
            array = room.array("f8", (2, 3))
            array[:] = [[1, 2, 3], [4, 5, 6]]
            del array
            room.commit()
        loan = self.consumer.loan(timeout=5)
        array = loan.array(numpy.float64, shape=(2, 3))
        plain = numpy.frombuffer(loan)
        self.assertEqual(array.sum(), 21)
        self.assertTrue(numpy.shares_memory(array, plain))
        self.assertFalse(array.flags.writeable)
        self.assertFalse(array.flags.owndata)
        with self.assertRaises(BufferError):
            loan.release()
        del array, plain
        loan.release()

    def test_anything_with_a_buffer_is_published(self) -> None:
        import numpy

        for data in (b"1234", bytearray(b"1234"), memoryview(b"1234"), numpy.array([1.5, 2.5])):
            self.producer.publish(data)
            self.assertEqual(self.consumer.take(5).data, bytes(data))
        with self.assertRaises(TypeError):
            self.producer.publish("text")  # type: ignore[arg-type]

    def test_take_into_says_when_the_buffer_is_too_small(self) -> None:
        self.producer.publish(b"1234567890")
        small, large = bytearray(5), bytearray(20)
        with self.assertRaises(ShimmyError) as raised:
            self.consumer.take_into(small, timeout=5)
        self.assertEqual(raised.exception.code, "SHIMMY_ERR_MESSAGE_TOO_BIG")
        self.assertEqual(self.consumer.take_into(large, timeout=5).bytes, 10)
        self.assertEqual(large[:10], b"1234567890")

    def test_large_messages_are_whole(self) -> None:
        large = os.urandom(200_000)
        for data in (large, b"small", large[:20_000], large):
            self.producer.publish(data, timeout=5)
            self.assertEqual(self.consumer.take(5).data, data)

    # ---- errors ----

    def test_errors_are_also_those_that_python_has(self) -> None:
        with self.assertRaises(TimeoutError) as timeout:
            self.consumer.take(timeout=0.01)
        assert isinstance(timeout.exception, ShimmyTimeout)
        self.assertEqual(timeout.exception.code, "SHIMMY_ERR_TIMEOUT")
        with self.assertRaises(PermissionError) as denied:
            self.b.consumer("other/topic")
        assert isinstance(denied.exception, TopicDenied)
        self.assertEqual(denied.exception.reason, "other_namespace")
        with self.assertRaises(ConnectionError) as absent:
            Client("/nowhere/fd.sock")
        self.assertIsInstance(absent.exception, AgentUnavailable)
        self.producer.end()
        with self.assertRaises(EOFError) as end:
            self.consumer.take()
        self.assertIsInstance(end.exception, EndOfChannel)

    def test_arguments_are_checked(self) -> None:
        consumer: Any = self.consumer
        producer: Any = self.producer
        for wrong in (
            lambda: consumer.take("soon"),
            lambda: consumer.take(timeout=1, more=2),
            lambda: consumer.take(within=1),
            lambda: producer.publish(),
            lambda: shimmy_ipc.Loan(),
            lambda: shimmy_ipc.Room(),
        ):
            self.assertRaises(TypeError, wrong)
        for wrong in (
            lambda: consumer.take(-1),
            lambda: consumer.take(float("nan")),
            lambda: producer.reserve(-1),
            lambda: self.a.consumer("t", wait_mode="hope"),  # type: ignore[arg-type]
            lambda: self.a.subscriber("t", start="now"),  # type: ignore[arg-type]
            lambda: Client(A, timeout=0),
        ):
            self.assertRaises(ValueError, wrong)

    def test_roles_have_their_own_calls_only(self) -> None:
        self.assertFalse(hasattr(Producer, "take"))
        self.assertFalse(hasattr(Consumer, "publish"))

    # ---- threads and signals ----

    def test_a_signal_handler_may_end_a_call_that_waits(self) -> None:
        for mode in ("adaptive", "spin", "sleep"):
            with self.subTest(mode):
                topic = f"signals-{mode}"
                consumer = self.b.consumer(topic, create=LockBased(), wait_mode=mode)
                timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
                timer.start()
                with self.assertRaises(KeyboardInterrupt):
                    consumer.take(timeout=10)
                timer.join()
                # It is as it was.
                self.a.producer(topic).publish(b"later")
                self.assertEqual(consumer.take(timeout=5).data, b"later")

    def test_a_signal_that_is_handled_does_not_end_a_call(self) -> None:
        heard = []
        before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(time.monotonic()))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        begun = time.monotonic()
        timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        timer.start()
        with self.assertRaises(TimeoutError):
            self.consumer.take(timeout=0.3)
        self.assertGreaterEqual(time.monotonic() - begun, 0.299)
        self.assertEqual(len(heard), 1)

    def test_other_threads_run_while_a_call_waits(self) -> None:
        taken: list[bytes] = []
        thread = threading.Thread(target=lambda: taken.append(self.consumer.take(10).data))
        thread.start()
        time.sleep(0.05)
        self.producer.publish(b"woken")
        thread.join()
        self.assertEqual(taken, [b"woken"])

    def test_a_waiting_thread_keeps_nobody_from_other_calls(self) -> None:
        self.producer.publish(b"lent")
        loan = self.consumer.loan(timeout=5)
        taken: list[bytes] = []
        thread = threading.Thread(target=lambda: taken.append(self.consumer.take(10).data))
        thread.start()
        time.sleep(0.05)
        begun = time.monotonic()
        loan.release()
        self.assertIsNone(self.consumer.try_take())
        with self.assertRaises(TimeoutError):
            self.consumer.take(timeout=0.1)
        self.assertLess(time.monotonic() - begun, 2)
        self.producer.publish(b"last")
        thread.join()
        self.assertEqual(taken, [b"last"])

    def test_many_threads_share_endpoints(self) -> None:
        total = 4000
        taken: list[int] = []

        def write(first: int) -> None:
            for i in range(first, total, 4):
                self.producer.publish(i.to_bytes(8, "little"), timeout=20)

        def read() -> None:
            try:
                while True:
                    taken.append(int.from_bytes(self.consumer.take(20).data, "little"))
            except EndOfChannel:
                pass

        writers = [threading.Thread(target=write, args=(first,)) for first in range(4)]
        reader = threading.Thread(target=read)
        for thread in [reader, *writers]:
            thread.start()
        for thread in writers:
            thread.join()
        self.producer.end()
        reader.join()
        self.assertEqual(sorted(taken), list(range(total)))

    def test_closing_ends_calls_of_other_threads(self) -> None:
        self.a.producer("two", create=LockBased())
        two = self.b.consumer("two")
        for consumer, close in ((self.consumer, self.consumer.close), (two, self.b.close)):
            with self.subTest(close.__qualname__):
                raised: list[ShimmyError] = []

                def wait(consumer: Consumer = consumer) -> None:
                    try:
                        consumer.take(10)
                    except ShimmyError as err:
                        raised.append(err)

                thread = threading.Thread(target=wait)
                thread.start()
                time.sleep(0.05)
                close()
                thread.join(5)
                self.assertEqual([err.code for err in raised], ["SHIMMY_ERR_CLOSED"])

    def test_interrupt_ends_one_wait(self) -> None:
        timer = threading.Timer(0.05, self.consumer.interrupt)
        timer.start()
        with self.assertRaises(ShimmyError) as raised:
            self.consumer.take(timeout=10)
        timer.join()
        self.assertNotIsInstance(raised.exception, TimeoutError)
        with self.assertRaises(TimeoutError):
            self.consumer.take(timeout=0.05)

    def test_a_child_of_fork_does_not_reach_the_parents_channel(self) -> None:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                self.producer.publish(b"from the child")
            except ShimmyError as err:
                self.a.close()
                code = 0 if err.code == "SHIMMY_ERR_CLOSED" else 2
            finally:
                os._exit(code)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.producer.publish(b"from the parent")
        self.assertEqual(self.consumer.take(5).data, b"from the parent")

    # ---- asyncio ----

    def test_tasks_run_while_one_awaits(self) -> None:
        async def main() -> list[bytes]:
            async def write() -> None:
                for i in range(200):
                    await self.producer.apublish(b"%d" % i, timeout=5)
                self.producer.end()

            task = asyncio.create_task(write())
            read = [message.data async for message in self.consumer]
            await task
            return read

        self.assertEqual(asyncio.run(main()), [b"%d" % i for i in range(200)])

    def test_awaiting_waits_as_long_as_it_is_told(self) -> None:
        async def main() -> None:
            begun = time.monotonic()
            with self.assertRaises(ShimmyTimeout):
                await self.consumer.atake(timeout=0.1)
            self.assertGreaterEqual(time.monotonic() - begun, 0.099)
            self.full()
            with self.assertRaises(ShimmyTimeout):
                await self.producer.apublish(b"x", timeout=0.05)
            with self.assertRaises(ShimmyTimeout):
                await self.producer.areserve(10, timeout=0.05)
            with await self.consumer.aloan(timeout=5) as loan:
                self.assertEqual(bytes(loan.data), b"x")

        asyncio.run(main())

    def test_a_cancelled_task_takes_nothing(self) -> None:
        async def main() -> bytes:
            task = asyncio.create_task(self.consumer.atake())
            await asyncio.sleep(0.02)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.producer.publish(b"still there")
            return (await self.consumer.atake(timeout=5)).data

        self.assertEqual(asyncio.run(main()), b"still there")

    def test_tasks_have_their_turn_in_order(self) -> None:
        async def main() -> list[bytes]:
            tasks = [asyncio.create_task(self.consumer.atake(timeout=5)) for _ in range(5)]
            await asyncio.sleep(0.02)
            for i in range(5):
                self.producer.publish(b"%d" % i)
            return [message.data for message in await asyncio.gather(*tasks)]

        self.assertEqual(asyncio.run(main()), [b"0", b"1", b"2", b"3", b"4"])

    def test_closing_ends_what_is_awaited(self) -> None:
        async def main() -> None:
            task = asyncio.create_task(self.consumer.atake())
            await asyncio.sleep(0.02)
            self.consumer.close()
            with self.assertRaises(ShimmyError) as raised:
                await asyncio.wait_for(task, 5)
            self.assertEqual(raised.exception.code, "SHIMMY_ERR_CLOSED")

        asyncio.run(main())

    # ---- what is left behind ----

    def test_nothing_is_left_behind(self) -> None:
        topics = (f"left-{number}" for number in range(100))

        def once() -> None:
            topic = next(topics)
            with Client(A) as a, Client(B) as b:
                with a.publisher(topic, create=LockFree()) as publisher:
                    with b.subscriber(topic, start="oldest") as subscriber:
                        while publisher.describe().peers == 0:
                            time.sleep(0.001)
                        publisher.publish(b"x")
                        with subscriber.loan(timeout=5):
                            pass

        def kept() -> tuple[int, int]:
            return len(os.listdir("/proc/self/fd")), threading_count()

        def threading_count() -> int:
            return len(os.listdir("/proc/self/task"))

        once()
        before = kept()
        maps = len(Path("/proc/self/maps").read_text().splitlines())
        for _ in range(10):
            once()
        self.assertEqual(kept(), before)
        self.assertLess(len(Path("/proc/self/maps").read_text().splitlines()), maps + 10)

    def test_info_and_counters_have_names(self) -> None:
        info = self.producer.describe()
        self.assertEqual((info.kind, info.state, info.max_loans), ("lock", "live", 2))
        self.assertEqual(info.topic, f"default/{self.id()}")
        self.producer.publish(b"four")
        self.consumer.take(5)
        for endpoint in (self.producer, self.consumer):
            counters = endpoint.counters()
            self.assertEqual((counters.messages, counters.bytes), (1, 4))


if __name__ == "__main__":
    unittest.main()
