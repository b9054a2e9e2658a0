"""Forms in which the runtime's kernels are fastest, one a file; see `exporters.base.form`."""

from exporters.base.form import Form
from exporters.ort.forms.affine import ChannelAffine
from exporters.ort.forms.attention import Attention, MultiHead
from exporters.ort.forms.group_norm import InstanceNorm
from exporters.ort.forms.linear_resize import LinearResize
from exporters.ort.forms.phases import Phases
from exporters.ort.forms.point import Point
from exporters.ort.forms.rms_norm import RmsNorm
from exporters.ort.forms.rows import Rows
from exporters.ort.forms.silu import QuickGelu
from exporters.ort.forms.sub_pixel import SubPixel

FORMS: tuple[Form, ...] = (
    *(SubPixel(), Phases(), Point()),
    *(InstanceNorm(), RmsNorm(), ChannelAffine(), QuickGelu()),
    *(Attention(), MultiHead(), Rows()),
    LinearResize(),
)
