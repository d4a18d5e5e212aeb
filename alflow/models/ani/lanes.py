"""Explicit vectors for Numba: one value a lane, so that no compiler has to find them.

`Lanes` is a Numba type that holds `width` float32 numbers in a vector register. Kernels add,
subtract and multiply such values with each other and with scalars, and load them from and store
them to flat arrays at any index. Nothing is checked: an index must be in range, lanes included.

Arithmetic carries the flag `contract`, so that products and sums fuse where the processor can,
and no flag that assumes numbers to be finite: NaN stays NaN.
"""

import operator

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

FLAGS = ("contract", "nsz", "arcp", "afn")
FLOAT, INT = ir.FloatType(), ir.IntType(32)
IS_X86 = llvmlite.binding.get_default_triple().startswith("x86_64")
FLUSH_AND_DAZ = 0x8040
"""Bits of the control register: results and operands that are subnormal are zero."""

EXP2 = (
    0.0013276466793585033,
    0.009675541293042276,
    0.05550713289578649,
    0.24022119724870541,
    0.6931469670549177,
    1.0000000716543669,
)
"""2^x for |x| <= 1/2, highest power first; relative error 7e-8."""
LOG2 = (
    0.12569487933426124,
    -0.2100599130996441,
    0.2171335860670896,
    -0.23855072007032904,
    0.28769384548628507,
    -0.36072014908268235,
    0.48092065386116495,
    -0.7213471371718033,
    1.4426948955630077,
)
"""log2(1 + x) / x for sqrt(1/2) <= 1 + x <= sqrt(2), highest power first; error 1e-8."""


def native_width() -> int:
    """Number of float32 in the widest vector of the processor that Numba compiles for."""
    features = config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    chosen = set(features.split(","))
    if "+avx512f" in chosen:
        return 16
    return 8 if "+avx" in chosen else 4


class Lanes(types.Type):
    """Numba type of `width` float32 numbers in a vector."""

    def __init__(self, width):
        """Name the type, which is what tells types apart."""
        self.width = width
        super().__init__(name=f"Lanes({width})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        vector = ir.VectorType(FLOAT, fe_type.width)
        super().__init__(dmm, fe_type, vector)


NATIVE = Lanes(native_width())
"""As many lanes as a register has."""
EIGHT = Lanes(8)
"""Eight lanes, for as many members of an ensemble."""


def _vector(kind, width):
    return ir.VectorType(kind, width)


def _constant(value, width):
    return ir.Constant(_vector(FLOAT, width), [value] * width)


def _integer(value, width):
    return ir.Constant(_vector(INT, width), [value] * width)


def _splat(builder, value, width):
    vector = ir.Constant(_vector(FLOAT, width), ir.Undefined)
    vector = builder.insert_element(vector, value, INT(0))
    mask = ir.Constant(_vector(INT, width), [0] * width)
    return builder.shuffle_vector(vector, vector, mask)


def _call(builder, name, value):
    """An intrinsic function of LLVM that takes a vector to another."""
    kind = ir.FunctionType(value.type, [value.type])
    name = f"{name}.v{value.type.count}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [value])


def _polynomial(builder, x, coefficients):
    """Highest power first."""
    width = x.type.count
    value = _constant(coefficients[0], width)
    for coefficient in coefficients[1:]:
        value = builder.fmul(value, x, flags=FLAGS)
        value = builder.fadd(value, _constant(coefficient, width), flags=FLAGS)
    return value


def _arithmetic(function, emit):
    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            lanes = next((a for a in args if isinstance(a, Lanes)), None)
            if kws or lanes is None:
                return None
            if all(a in (lanes, types.float32) for a in args):
                return signature(lanes, *args)
            return None

    def lowered(context, builder, sig, args):
        width = sig.return_type.width
        sides = [
            value if isinstance(kind, Lanes) else _splat(builder, value, width)
            for kind, value in zip(sig.args, args, strict=True)
        ]
        return getattr(builder, emit)(*sides, flags=FLAGS)

    for kinds in ((Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)):
        lower_builtin(function, *kinds)(lowered)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.iadd, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


def _place(context, builder, kind, array, index, width):
    """Pointer to a vector in a flat array."""
    data = cgutils.create_struct_proxy(kind)(context, builder, array).data
    place = builder.gep(data, [index])
    if width is None:
        return place
    return builder.bitcast(place, _vector(FLOAT, width).as_pointer())


def _loader(lanes):
    @intrinsic
    def load(typingctx, array, index):
        """A vector from a flat array, at any index."""

        def emit(context, builder, sig, args):
            place = _place(context, builder, sig.args[0], *args, lanes.width)
            return builder.load(place, align=4)

        return lanes(array, types.int64), emit

    return load


def _splatter(lanes):
    @intrinsic
    def splat(typingctx, value):
        """The same number in all lanes."""

        def emit(context, builder, sig, args):
            return _splat(builder, args[0], lanes.width)

        return lanes(types.float32), emit

    return splat


load, load8 = _loader(NATIVE), _loader(EIGHT)
splat, splat8 = _splatter(NATIVE), _splatter(EIGHT)


@intrinsic
def store(typingctx, array, index, value):
    """Write a vector into a flat array, at any index."""

    def emit(context, builder, sig, args):
        place = _place(context, builder, sig.args[0], *args[:2], sig.args[2].width)
        builder.store(args[2], place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), emit


@intrinsic
def get(typingctx, array, index):
    """One number of a flat array; negative indices do not count from its end."""

    def emit(context, builder, sig, args):
        return builder.load(_place(context, builder, sig.args[0], *args, None))

    return array.dtype(array, types.int64), emit


@intrinsic
def put(typingctx, array, index, value):
    """Write one number into a flat array."""

    def emit(context, builder, sig, args):
        place = _place(context, builder, sig.args[0], *args[:2], None)
        builder.store(args[2], place)
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), emit


@intrinsic
def total(typingctx, value):
    """Sum of the lanes."""

    def emit(context, builder, sig, args):
        (vector,) = args
        width = vector.type.count
        # By halves: the same order on every processor of the same width.
        while width > 1:
            width //= 2
            halves = [
                builder.shuffle_vector(
                    vector, vector, ir.Constant(_vector(INT, width), list(part))
                )
                for part in (range(width), range(width, 2 * width))
            ]
            vector = builder.fadd(*halves)
        return builder.extract_element(vector, INT(0))

    return types.float32(value), emit


@intrinsic
def root(typingctx, value):
    """Square root."""

    def emit(context, builder, sig, args):
        return _call(builder, "llvm.sqrt", args[0])

    return value(value), emit


@intrinsic
def below(typingctx, value, bound, yes, no):
    """In each lane `yes` where value < bound, else `no`; NaN is below nothing."""

    def emit(context, builder, sig, args):
        width = sig.return_type.width
        test = builder.fcmp_ordered("<", args[0], _splat(builder, args[1], width))
        return builder.select(test, args[2], args[3])

    return yes(value, types.float32, yes, no), emit


@intrinsic
def leading(typingctx, value, count):
    """The first lanes as they are, zero in the others."""

    def emit(context, builder, sig, args):
        vector, number = args
        width = vector.type.count
        number = builder.trunc(number, INT)
        wide = ir.Constant(_vector(INT, width), ir.Undefined)
        wide = builder.insert_element(wide, number, INT(0))
        zeros = ir.Constant(_vector(INT, width), [0] * width)
        wide = builder.shuffle_vector(wide, wide, zeros)
        lane = ir.Constant(_vector(INT, width), list(range(width)))
        test = builder.icmp_signed("<", lane, wide)
        return builder.select(test, vector, _constant(0.0, width))

    return value(value, types.int64), emit


@intrinsic
def exp2(typingctx, value):
    """2 to the power of each lane, 0 for what is below -126; relative error 1e-7."""

    def emit(context, builder, sig, args):
        (x,) = args
        width = x.type.count
        low = _constant(-126.0, width)
        x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
        whole = _call(builder, "llvm.rint", x)
        power = _polynomial(builder, builder.fsub(x, whole, flags=FLAGS), EXP2)
        exponent = builder.fptosi(whole, _vector(INT, width))
        exponent = builder.add(exponent, _integer(127, width))
        scale = builder.bitcast(builder.shl(exponent, _integer(23, width)), x.type)
        return builder.fmul(power, scale, flags=FLAGS)

    return value(value), emit


@intrinsic
def log2(typingctx, value):
    """Logarithm to base 2 of positive normal numbers; absolute error 1e-7 times its size."""

    def emit(context, builder, sig, args):
        (x,) = args
        width = x.type.count
        bits = builder.bitcast(x, _vector(INT, width))
        # The exponent that leaves a mantissa between sqrt(1/2) and sqrt(2).
        exponent = builder.sub(bits, _integer(0x3F3504F3, width))
        exponent = builder.ashr(exponent, _integer(23, width))
        mantissa = builder.sub(bits, builder.shl(exponent, _integer(23, width)))
        rest = builder.bitcast(mantissa, x.type)
        rest = builder.fsub(rest, _constant(1.0, width), flags=FLAGS)
        whole = builder.sitofp(exponent, x.type)
        power = builder.fmul(rest, _polynomial(builder, rest, LOG2), flags=FLAGS)
        return builder.fadd(power, whole, flags=FLAGS)

    return value(value), emit


def _control(builder, name, place):
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(function, [builder.bitcast(place, ir.IntType(8).as_pointer())])


@intrinsic
def flush_subnormals(typingctx):
    """Have this thread take numbers below 1e-38 for zero; what to give `restore` afterwards.

    Sharp functions underflow all the time, and arithmetic on what is left is ten times slower.
    """

    def emit(context, builder, sig, args):
        if not IS_X86:
            return INT(0)
        place = cgutils.alloca_once(builder, INT)
        _control(builder, "llvm.x86.sse.stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, INT(FLUSH_AND_DAZ)), place)
        _control(builder, "llvm.x86.sse.ldmxcsr", place)
        return before

    return types.int32(), emit


@intrinsic
def restore(typingctx, before):
    """Undo `flush_subnormals`."""

    def emit(context, builder, sig, args):
        if IS_X86:
            place = cgutils.alloca_once(builder, INT)
            builder.store(args[0], place)
            _control(builder, "llvm.x86.sse.ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), emit
