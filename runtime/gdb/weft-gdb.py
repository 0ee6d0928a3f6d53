# Fibers of weft in gdb: `info fibers`, `fiber ID`, `fiber apply ID...|all COMMAND`.
#
# Reads memory alone, so that a core will do: calls nothing in the program, writes no register and needs no types. Where
# things lie is told by the program itself (runtime/src/debug/debugger.hpp). docs/debugging.md says how it gets loaded.

import os
import re
import struct
import time

import gdb
import gdb.unwinder
from gdb.FrameDecorator import FrameDecorator

ROOT = "_ZN4weft2v06detail18root_for_debuggersE"
TEXT = b"weft debugger 1\0"

# Frames of the library, and of those that it stands on, are no place in the user's program.
LIBRARY_FUNCTION = re.compile(r"(weft::|std::|boost::context|jump_fcontext|make_fcontext|__|_Z+N?S?t|_Z+NK?4weft)")
LIBRARY_FILE = re.compile(r"/(libc|libpthread|libstdc\+\+|libgcc_s|libweft|libboost_context|ld-linux)[-.][^/]*$")
LIBRARY_SOURCE = re.compile(r"/include/(weft|c\+\+)/")
COMPONENT_SOURCE = re.compile(r"/((sched|netpoll|runtime)/src/(\w+/)*\w+\.[ch]pp)$")
FIBER_ENTRY = "_ZN4weft2v05sched11fiber_entryEPv"


class Memory:
    """The selected inferior's. Numbers are little-endian."""

    def __init__(self):
        self.inferior = gdb.selected_inferior()

    def read(self, address, size):
        return bytes(self.inferior.read_memory(address, size))

    def word(self, address):
        return struct.unpack("<Q", self.read(address, 8))[0]

    def words(self, address, count):
        return struct.unpack("<%dQ" % count, self.read(address, 8 * count)) if count else ()


def find_root(memory):
    try:
        return int(gdb.parse_and_eval("(unsigned long)&" + ROOT))
    except gdb.error:
        pass
    # Without symbols: in one of the sections that the program writes to.
    for line in gdb.execute("info files", to_string=True).splitlines():
        found = re.match(r"\s*0x([0-9a-f]+) - 0x([0-9a-f]+) is \.data( in |$)", line)
        if found:
            begin, end = (int(n, 16) for n in found.group(1, 2))
            at = memory.inferior.search_memory(begin, end - begin, TEXT)
            if at is not None:
                return at
    raise gdb.GdbError("No fibers: this program has no weft in it, or has not been started.")


class Slab:
    """Stacks in one mapping, each with its fiber at the top."""

    def __init__(self, process, address):
        memory, layout = process.memory, process.layout
        self.begin = memory.word(address + layout["slab.memory"])
        self.stride = memory.word(address + layout["slab.stride"])
        self.carved = memory.word(address + layout["slab.carved"])
        self.words = memory.words(memory.word(address + layout["slab.words"]), self.carved)
        self.layout = layout

    def fiber(self, i):
        """The address of the i-th, None if that is not in use."""
        if not self.words[i] & 1:
            return None
        top = self.begin + (i + 1) * self.stride
        return top - self.layout["fiber.size"] - i % self.layout["slab.colours"] * self.layout["slab.colour_step"]

    def fiber_on(self, address):
        i = (address - self.begin) // self.stride
        return self.fiber(i) if 0 <= i < self.carved else None


class Process:
    """The schedulers and fibers of the selected inferior, as they are now."""

    def __init__(self):
        self.memory = Memory()
        root = find_root(self.memory)
        head = self.memory.read(root, 24)
        version, count = struct.unpack("<II", head[16:])
        if head[:16] != TEXT or version != 1:
            raise gdb.GdbError("This script is none for the weft of this program.")
        self.layout = {}
        for table in self.memory.words(root + 24, count):
            self._read_table(table)
        self.phases = self._names("phase.")
        self.reasons = self._names("reason.")
        self.slabs = []
        self.fibers = []
        self.missing = 0  # cut off from the core
        self._threads = None
        self.now = clock_of_inferior()
        runtime = self.memory.word(root + 24 + 8 * count)
        while runtime:
            self._read_scheduler(self.memory.word(runtime + self.layout["runtime.scheduler"]))
            runtime = self.memory.word(runtime + self.layout["runtime.next"])
        self.fibers.sort(key=lambda f: f.id)

    def _read_table(self, table):
        fields, count = self.memory.words(table, 2)
        data = self.memory.read(fields, 32 * count)
        for name, value in struct.iter_unpack("<24sQ", data):
            self.layout[name.rstrip(b"\0").decode()] = value

    def _names(self, prefix):
        return {n: name[len(prefix):] for name, n in self.layout.items() if name.startswith(prefix)}

    def _read_scheduler(self, scheduler):
        memory, layout = self.memory, self.layout
        clock = memory.word(scheduler + layout["scheduler.clock"])
        pool = memory.word(scheduler + layout["scheduler.pools"])
        while pool:
            slab = memory.word(pool + layout["pool.newest"])
            while slab:
                stacks = Slab(self, slab)
                self.slabs.append(stacks)
                for i in range(stacks.carved):
                    address = stacks.fiber(i)
                    if address is not None:
                        self._add_fiber(address, clock)
                slab = memory.word(slab + layout["slab.older"])
            pool = memory.word(pool + layout["pool.next"])

    def _add_fiber(self, address, clock):
        try:
            fiber = Fiber(self, address, clock)
        except gdb.MemoryError:
            self.missing += 1
            return
        if fiber.phase != "none":  # else it has ended, and is kept for its result
            self.fibers.append(fiber)

    def find(self, id):
        for fiber in self.fibers:
            if fiber.id == id:
                return fiber
        raise gdb.GdbError("No fiber %d." % id)

    def fiber_on(self, address):
        """The fiber whose stack the address lies on."""
        for slab in self.slabs:
            at = slab.fiber_on(address)
            if at is not None:
                return next((f for f in self.fibers if f.address == at), None)
        return None

    def threads(self):
        """The threads that are on a fiber's stack, by the fiber's address. Asks the stack pointers, not the scheduler: a
        thread may be just about to switch."""
        if self._threads is None:
            self._threads = {}
            with Place():
                for thread in gdb.selected_inferior().threads():
                    if not thread.is_stopped():
                        continue
                    thread.switch()
                    fiber = self._fiber_of_thread()
                    if fiber is not None:
                        self._threads[fiber.address] = thread
        return self._threads

    def _fiber_of_thread(self):
        frame = gdb.newest_frame()
        for _ in range(16):  # a handler of signals has a stack of its own, above the fiber's
            fiber = self.fiber_on(int(frame.read_register("sp")))
            if fiber is not None:
                return fiber
            try:
                frame = frame.older()
            except gdb.error:
                return None
            if frame is None:
                break
        return None


SAVED = {"rsp": "fiber.stack", "rip": "fiber.code", "rbp": "fiber.frame"}


class Fiber:
    def __init__(self, process, address, clock):
        layout = process.layout
        raw = process.memory.read(address, layout["fiber.size"])

        def word(field):
            return struct.unpack_from("<Q", raw, layout[field])[0]

        self.process = process
        self.address = address
        self.id = word("fiber.id")
        name = layout["fiber.name"]
        self.name = raw[name:name + layout["fiber.name_size"]].split(b"\0")[0].decode("utf-8", "replace")
        self.phase = process.phases.get(raw[layout["fiber.phase"]], "?")
        self.reason = process.reasons.get(raw[layout["fiber.reason"]], "?")
        self.entered = raw[layout["fiber.entered"]] != 0
        self.object = word("fiber.object")
        self.since = word("fiber.since") & ~1
        self.spawned_at = word("fiber.spawned_at")
        # What the switch has saved; the frame that jumped keeps the other registers.
        self.saved = {register: word(field) for register, field in SAVED.items() if field in layout}
        self.clock = clock

    def thread(self):
        return self.process.threads().get(self.address)

    def title(self):
        return "fiber %d%s" % (self.id, " '%s'" % self.name if self.name else "")

    def state(self):
        thread = self.thread()
        if thread is not None:
            return ("blocking" if self.phase == "blocking" else "running") + " on thread %d" % thread.num
        return (self.doing() + " " + self._wait_object()).rstrip() if self.phase == "parked" else self.doing()

    def doing(self):
        return self.reason.replace("_", " ") if self.phase == "parked" else self.phase

    def _wait_object(self):
        if not self.object:
            return ""
        process, layout = self.process, self.process.layout
        try:
            if self.reason in ("read", "write"):
                number = struct.unpack("<i", process.memory.read(self.object + layout["poll_desc.fd"], 4))[0]
                return "descriptor %d" % number if number >= 0 else "pipe in memory"
            if self.reason == "join":
                other = process.fiber_on(self.object)
                return other.title() if other is not None else ""
            if self.reason == "mutex":
                place = process.memory.word(self.object + layout["mutex.holder"])
                holder = process.fiber_on(place) if place else None
                return "0x%x, held by %s" % (self.object, holder.title() if holder else "no fiber")
        except gdb.MemoryError:
            pass
        return "0x%x" % self.object

    def seconds(self):
        """How long it has been in its state. A core only knows the time of the scheduler's last look at the clock."""
        if self.process.now is not None:
            return "%.3f s" % (max(self.process.now - self.since, 0) * 1e-9)
        return "%.3f s or more" % (max(self.clock - self.since, 0) * 1e-9)

    def why_no_stack(self):
        if self.thread() is not None:
            return None
        if not self.entered:
            return "has not run yet"
        if self.phase in ("running", "blocking"):
            return "is being switched to or from at this moment"
        if not self.saved:
            return "has a stack that this script cannot read on this processor"
        return None

    def select(self):
        """Makes it what `bt`, `frame`, `info locals` are about, at its innermost frame."""
        reason = self.why_no_stack()
        if reason:
            raise gdb.GdbError("%s %s." % (self.title().capitalize(), reason))
        thread = self.thread()
        if thread is not None:
            selection.clear()
            thread.switch()
            selection.shown = self.id
            gdb.newest_frame().select()
        else:
            selection.set(self)


def clock_of_inferior():
    """CLOCK_MONOTONIC in nanoseconds, if the program is alive on this machine."""
    try:
        if gdb.selected_inferior().connection.type == "native":
            return int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e9)
    except AttributeError:  # before gdb 11, or nothing is connected
        pass
    return None


class Place:
    """Remembers which thread, fiber and frame are selected, and comes back there."""

    def __enter__(self):
        self.thread = gdb.selected_thread()
        self.fiber = selection.as_it_was()
        self.depth = 0
        if self.thread is not None and self.thread.is_stopped():
            frame = gdb.selected_frame()
            while frame.newer() is not None:
                frame = frame.newer()
                self.depth += 1
        selection.clear()
        return self

    def __exit__(self, *_):
        selection.clear()
        if self.thread is None or not self.thread.is_valid():
            return
        self.thread.switch()
        selection.restore(self.fiber)
        if self.thread.is_stopped():
            frame = gdb.newest_frame()
            for _ in range(self.depth):
                frame = frame.older() or frame
            frame.select()


class Selection:
    """The suspended fiber that is shown in place of the selected thread's own stack: the thread's frames go on into the
    fiber's. Its registers are only told to gdb, not put anywhere."""

    def __init__(self):
        self.shown = None  # the id of the fiber, suspended or running
        self.registers = None
        self.at = None  # the thread, and its own place there

    def clear(self):
        changed = self.registers is not None
        self.shown = self.registers = self.at = None
        if changed:
            gdb.invalidate_cached_frames()

    def set(self, fiber):
        self.clear()
        frame = gdb.newest_frame()
        self.at = (gdb.selected_thread().ptid, int(frame.read_register("pc")), int(frame.read_register("sp")))
        self.shown, self.registers = fiber.id, fiber.saved
        self._select_first()

    def as_it_was(self):
        return (self.shown, self.registers, self.at)

    def restore(self, saved):
        self.shown, self.registers, self.at = saved
        gdb.invalidate_cached_frames()

    def _select_first(self):
        gdb.invalidate_cached_frames()
        frame = gdb.newest_frame()
        while frame is not None and self.is_threads(frame):
            frame = frame.older()
        if frame is None:
            self.clear()
            raise gdb.GdbError("gdb does not follow into the fiber's stack.")
        frame.select()

    def applies(self):
        thread = gdb.selected_thread()
        return self.registers is not None and thread is not None and thread.ptid == self.at[0]

    def is_threads(self, frame):
        """Whether a frame, pending or not, is one of those where the thread itself is (several, if functions are inlined)."""
        return (int(frame.read_register("sp")) == self.at[2] and int(frame.read_register("pc")) == self.at[1])


selection = Selection()


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = gdb.Value(sp), gdb.Value(pc)


class FiberUnwinder(gdb.unwinder.Unwinder):
    def __init__(self):
        super().__init__("weft-fiber")

    def __call__(self, pending):
        if not selection.applies() or not selection.is_threads(pending):
            return None
        # As if it lay below the fiber's frames: gdb takes a stack that goes down for corrupt.
        info = pending.create_unwind_info(FrameId(selection.registers["rsp"], selection.at[1]))
        for name, value in selection.registers.items():
            info.add_saved_register(name, gdb.Value(value))
        return info


class ShownFrame(FrameDecorator):
    def function(self):
        name = super().function()
        # A number is an address, for gdb to find a name of; it would print nothing if there is none.
        return "??" if isinstance(name, int) and self.inferior_frame().name() is None else name


class FiberFrames:
    """A filter that leaves out the frames of the thread in whose place a fiber is shown."""

    def __init__(self):
        self.name = "weft-fiber"
        self.priority = 1000

    @property
    def enabled(self):  # only then, since a filter changes how gdb prints
        return selection.applies()

    @enabled.setter
    def enabled(self, _):
        pass

    def filter(self, frames):
        return (ShownFrame(f) for f in frames if not selection.is_threads(f.inferior_frame()))


def own_source():
    """The directory with the library's sources as the program's debugging information has it, or None."""
    try:
        block = gdb.block_for_pc(int(gdb.parse_and_eval("(unsigned long)&" + FIBER_ENTRY)))
    except gdb.error:
        return None
    function = None  # the outermost: others may be inlined at its beginning
    while block is not None:
        function = block.function or function
        block = block.superblock
    parts = function.symtab.fullname().rsplit("/sched/src/", 1) if function is not None else ()
    return parts[0] if len(parts) == 2 else None


class Places:
    """What addresses and frames are called, each found out once."""

    def __init__(self):
        self.source = own_source()
        self.functions = {}
        self.files = {}

    def _is_librarys(self, name, symtab):
        if name is None or LIBRARY_FUNCTION.match(name):
            return True
        if symtab is None:
            return False
        if symtab.filename not in self.files:
            full = symtab.fullname()
            mine = self.source and re.match(re.escape(self.source) + "/(sched|netpoll|runtime)/", full)
            self.files[symtab.filename] = bool(mine or LIBRARY_SOURCE.search(full))
        # A lambda has no other name, and what comes from a compiler cache may have been compiled in another directory.
        return self.files[symtab.filename] or name == "operator()" and self._is_source(symtab.filename)

    def _is_source(self, path):
        found = COMPONENT_SOURCE.search(path)
        return bool(self.source and found and os.path.exists(os.path.join(self.source, found.group(1))))

    def is_users(self, frame):
        if LIBRARY_FILE.search(gdb.solib_name(frame.pc()) or ""):
            return False
        return not self._is_librarys(frame.name(), frame.find_sal().symtab)

    def function_at(self, pc):
        """The user's function around pc and the line there, as far as they are known."""
        if pc not in self.functions:
            self.functions[pc] = self._find_function(pc)
        return self.functions[pc]

    def _find_function(self, pc):
        function, place = None, gdb.find_pc_line(pc)
        symtab, line = place.symtab, place.line
        try:
            block = gdb.block_for_pc(pc)
            while block is not None:
                if block.function is not None:
                    if function is not None:  # which was inlined here: its symbol has the line of the call
                        symtab, line = function.symtab, function.line
                    function = block.function
                    if not self._is_librarys(function.print_name, function.symtab):
                        break
                block = block.superblock
        except RuntimeError:
            pass
        if function is not None:
            name = without_parameters(function.print_name)
        else:
            found = re.match(r"(.+?)( \+ \d+)? in section", gdb.execute("info symbol 0x%x" % pc, to_string=True))
            name = without_parameters(found.group(1)) if found else "0x%x" % pc
        return name + (" (%s:%d)" % (base_name(symtab), line) if symtab and line else "")


def without_parameters(name):
    end = name.rfind(")")
    depth = 0
    for i in range(end, -1, -1):
        depth += {")": 1, "(": -1}.get(name[i], 0)
        if depth == 0 and i != end:
            return name[:i]
    return name


def base_name(symtab):
    return symtab.filename.rsplit("/", 1)[-1]


def frame_text(frame):
    sal = frame.find_sal()
    return (frame.name() or "?") + (" (%s:%d)" % (base_name(sal.symtab), sal.line) if sal.symtab and sal.line else "")


def stack():
    """The frames of what is selected, innermost first."""
    frame = gdb.selected_frame()
    while frame is not None:
        yield frame
        try:
            frame = frame.older()
        except gdb.error:
            return


def users_frames(fiber, places):
    """The fiber's frames in the user's program, innermost first. Selects the fiber."""
    fiber.select()
    return (frame for frame in stack() if places.is_users(frame))


def select_users_frame(fiber, places):
    """Selects the fiber where it is in the user's program, if that is known; else at its innermost frame."""
    for frame in users_frames(fiber, places):
        frame.select()
        return


class InfoFibers(gdb.Command):
    """List the fibers: what each is doing and for how long, where in your program it is, and where it was spawned.
Usage: info fibers [-summary]
With -summary, fibers with equal stacks are counted together, the most frequent first."""

    def __init__(self):
        super().__init__("info fibers", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        if argument.strip() not in ("", "-summary"):
            raise gdb.GdbError("Usage: info fibers [-summary]")
        process = Process()
        process.threads()
        places = Places()
        shown = selection.shown
        with Place():
            if argument.strip():
                self._summarize(process, places)
            elif process.fibers:
                self._list(process, places, shown)
            else:
                gdb.write("No fibers.\n")
        if process.missing:
            gdb.write("%d more are not in the core.\n" % process.missing)

    def _places_of(self, fiber, places):
        reason = fiber.why_no_stack()
        if reason:
            yield reason
            return
        try:
            yield from map(frame_text, users_frames(fiber, places))
        except (gdb.error, gdb.GdbError):
            pass  # its stack is damaged, or not in the core

    def _list(self, process, places, shown):
        rows = [("", "Id", "Name", "State", "For", "At", "Spawned at")]
        for f in process.fibers:
            at = next(self._places_of(f, places), "?")
            origin = places.function_at(f.spawned_at - 1) if f.spawned_at else "?"
            rows.append(("*" if f.id == shown else "", str(f.id), f.name, f.state(), f.seconds(), at, origin))
        widths = [max(len(row[i]) for row in rows) for i in range(6)] + [0]
        for row in rows:
            gdb.write("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() + "\n")

    def _summarize(self, process, places):
        groups = {}
        for f in process.fibers:
            groups.setdefault((f.doing(), tuple(self._places_of(f, places))), []).append(f)
        for (doing, names), members in sorted(groups.items(), key=lambda group: -len(group[1])):
            some = ", ".join(str(f.id) for f in members[:4]) + (", ..." if len(members) > 4 else "")
            gdb.write("%d %s [%s]: %s\n" % (len(members), "fiber" if len(members) == 1 else "fibers", doing, some))
            for name in names:
                gdb.write("    %s\n" % name)


class FiberCommand(gdb.Command):
    """Show a fiber's stack in place of the thread's: bt, up, down, frame, info locals are about it.
Usage: fiber [ID]
Selects the innermost frame that is not the library's. Without ID, says which fiber is shown. `fiber 0` returns to the stack
of the thread, as does whatever lets the program go on. Of a running fiber the thread is selected. No register is written."""

    def __init__(self):
        super().__init__("fiber", gdb.COMMAND_STACK, prefix=True)

    def invoke(self, argument, from_tty):
        words = argument.split()
        if not words:
            if selection.shown is None:
                gdb.write("No fiber is shown.\n")
            else:
                f = Process().find(selection.shown)
                gdb.write("[%s: %s]\n" % (f.title().capitalize(), f.state()))
            return
        if len(words) > 1 or not words[0].isdigit():
            raise gdb.GdbError("Usage: fiber [ID]")
        if words[0] == "0":
            selection.clear()
            if gdb.selected_thread() is not None:
                gdb.execute("frame 0")
            return
        f = Process().find(int(words[0]))
        select_users_frame(f, Places())
        gdb.write("[%s: %s]\n" % (f.title().capitalize(), f.state()))
        gdb.execute("frame")


class FiberApply(gdb.Command):
    """Apply a command to fibers, each selected in turn as `fiber ID` does.
Usage: fiber apply all|ID|ID-ID... COMMAND"""

    def __init__(self):
        super().__init__("fiber apply", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        chosen, command = [], argument.strip()
        while True:
            found = re.match(r"(all|(\d+)(?:-(\d+))?)(\s+|$)", command)
            if not found:
                break
            command = command[found.end():]
            first = int(found.group(2) or 0)
            chosen.append((first, int(found.group(3) or first)) if found.group(2) else (1, float("inf")))
        if not chosen or not command:
            raise gdb.GdbError("Usage: fiber apply all|ID|ID-ID... COMMAND")
        process = Process()
        for first, last in chosen:
            if first == last:
                process.find(first)
        process.threads()
        places = Places()
        with Place():
            for f in process.fibers:
                if any(first <= f.id <= last for first, last in chosen):
                    gdb.write("\n%s [%s, for %s]:\n" % (f.title().capitalize(), f.state(), f.seconds()))
                    try:
                        select_users_frame(f, places)
                        gdb.execute(command)
                    except (gdb.error, gdb.GdbError) as e:
                        gdb.write("%s\n" % e)


def on_continue(_):
    selection.clear()


def register():
    before = getattr(gdb, "weft_on_continue", None)
    if before is not None:
        gdb.events.cont.disconnect(before)
    gdb.weft_on_continue = on_continue
    gdb.events.cont.connect(on_continue)
    gdb.unwinder.register_unwinder(None, FiberUnwinder(), replace=True)
    gdb.frame_filters["weft-fiber"] = FiberFrames()
    InfoFibers()
    FiberCommand()
    FiberApply()


register()
