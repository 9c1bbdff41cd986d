"""Teacher, codebook and student, their cost, and their files."""

from vpbsd.models.codebook import Codebook, CodeUsage, Quantised
from vpbsd.models.cost import Cost, cost
from vpbsd.models.deployed import DeployedStudent
from vpbsd.models.projection import Projection
from vpbsd.models.student import Student
from vpbsd.models.teacher import Teacher, TeacherOutput
from vpbsd.models.weights import Model, load_model, save_model

__all__ = [
    "CodeUsage",
    "Codebook",
    "Cost",
    "DeployedStudent",
    "Model",
    "Projection",
    "Quantised",
    "Student",
    "Teacher",
    "TeacherOutput",
    "cost",
    "load_model",
    "save_model",
]
