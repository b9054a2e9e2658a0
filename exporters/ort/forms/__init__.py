"""Forms in which the runtime's kernels are fastest, one a file; see `exporters.base.form`."""

from exporters.base.form import Form
from exporters.ort.forms.phases import Phases
from exporters.ort.forms.point import Point
from exporters.ort.forms.sub_pixel import SubPixel

FORMS: tuple[Form, ...] = (SubPixel(), Phases(), Point())
